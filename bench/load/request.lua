-- The request of the load benchmark: 436 bytes with the headers a browser sends. `CLOSE=1` in the environment asks for one
-- connection per request. wrk formats it once, so this costs nothing per request.
wrk.method = "GET"
-- `BODY` makes it a POST of that JSON.
if os.getenv("BODY") then
  wrk.method = "POST"
  wrk.body = os.getenv("BODY")
  wrk.headers["Content-Type"] = "application/json"
end
wrk.headers["Host"] = "api.example.com"
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"
wrk.headers["Accept"] = "application/json, text/plain, */*"
wrk.headers["Accept-Language"] = "en-GB,en;q=0.9"
wrk.headers["Accept-Encoding"] = "gzip, deflate, br"
wrk.headers["Referer"] = "https://app.example.com/orders"
wrk.headers["Cookie"] = "session=4f1c2d7a9b3e8c6d5f"
wrk.headers["x-api-key"] = os.getenv("API_KEY")
-- Who calls, where a shape is about that.
wrk.headers["Authorization"] = os.getenv("AUTHORIZATION")
wrk.headers["X-Amz-Date"] = os.getenv("AMZ_DATE")
wrk.headers["Connection"] = os.getenv("CLOSE") and "close" or "keep-alive"

-- One line for xtask, so that it need not read the table meant for people.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    "RESULT requests=%d duration_us=%d p50_us=%d p99_us=%d connect=%d read=%d write=%d timeout=%d status=%d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
