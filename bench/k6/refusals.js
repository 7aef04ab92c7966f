// Clients without a key, and for paths that do not exist: refused in the right words while others are served.
import http from 'k6/http';
import { check } from 'k6';

const base = __ENV.BASE_URL || 'http://127.0.0.1:8080';

export const options = {
  vus: 20,
  duration: '10s',
  thresholds: { checks: ['rate==1'] },
};

export default function () {
  const forbidden = http.get(`${base}/items/1`, { tags: { name: 'without a key' } });
  check(forbidden, {
    'no key is 403': (a) => a.status === 403 && a.json('message') === 'Forbidden',
    'and says why': (a) => a.headers['X-Amzn-Errortype'] === 'ForbiddenException',
  });
  const missing = http.get(`${base}/nowhere`, { tags: { name: 'no route' } });
  check(missing, { 'no route is 404': (a) => a.status === 404 });
  const served = http.get(`${base}/items/1`, { headers: { 'x-api-key': __ENV.API_KEY }, tags: { name: 'served' } });
  check(served, { 'the others are served': (a) => a.status === 200 });
}
