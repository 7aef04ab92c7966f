// From a few clients to many and back: no error on the way, and the gateway recovers its latency.
import http from 'k6/http';
import { check } from 'k6';

const base = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const headers = { 'x-api-key': __ENV.API_KEY };

export const options = {
  stages: [
    { duration: '5s', target: 20 },
    { duration: '10s', target: 500 },
    { duration: '5s', target: 20 },
  ],
  thresholds: { checks: ['rate==1'], http_req_failed: ['rate==0'] },
};

export default function () {
  const answer = http.get(`${base}/items/1`, { headers });
  check(answer, { 'status is 200': (a) => a.status === 200 });
}
