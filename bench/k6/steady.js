// A fixed rate over the four kinds of answers: does latency hold, is every answer right?
import http from 'k6/http';
import { check } from 'k6';

const base = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const headers = { 'x-api-key': __ENV.API_KEY };
const paths = ['/mock/1', '/items/1', '/cached/1', '/100k/1'];

export const options = {
  scenarios: {
    steady: { executor: 'constant-arrival-rate', rate: 1000, timeUnit: '1s', duration: '20s', preAllocatedVUs: 50 },
  },
  thresholds: {
    checks: ['rate==1'],
    http_req_failed: ['rate==0'],
    http_req_duration: ['p(99)<50'],
  },
};

export default function () {
  const path = paths[Math.floor(Math.random() * paths.length)];
  const answer = http.get(base + path, { headers, tags: { name: path } });
  check(answer, {
    'status is 200': (a) => a.status === 200,
    'has a request id': (a) => a.headers['X-Amzn-Requestid'] !== undefined,
    'body is whole': (a) => a.body.length === (path.startsWith('/100k') ? 102400 : 187),
  });
}
