//! The execution log of one call, as TestInvokeMethod answers it and CloudWatch gets it.
//!
//! Each step of a call is one line; users search for their words, so they are AWS's.

use sluice_calendar::Date;
use std::fmt::Write as _;

/// Names and values.
pub type Pairs<'a> = &'a [(&'a str, &'a str)];

/// One line.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// The method, and the resource's path.
    Method(&'a str, &'a str),
    /// The path's variables.
    RequestPath(Pairs<'a>),
    /// The query's parameters.
    RequestQuery(Pairs<'a>),
    /// The client's headers.
    RequestHeaders(Pairs<'a>),
    /// The client's body.
    RequestBody(&'a str),
    /// The integration's URI.
    EndpointUri(&'a str),
    /// Headers towards the integration.
    EndpointRequestHeaders(Pairs<'a>),
    /// The body towards the integration.
    EndpointRequestBody(&'a str),
    /// The request goes to this URI.
    Sending(&'a str),
    /// Status, and how long the integration took in milliseconds.
    Received(u16, u64),
    /// The integration's headers.
    EndpointResponseHeaders(Pairs<'a>),
    /// The integration's body.
    EndpointResponseBody(&'a str),
    /// The body of the answer.
    ResponseBody(&'a str),
    /// The headers of the answer.
    ResponseHeaders(Pairs<'a>),
    /// The authorizer that is asked.
    Authorizer(&'a str),
    /// What its function returned.
    AuthorizerResult(&'a str),
    /// For this principal, and with a policy.
    AuthorizerSuccess(&'a str),
    /// All went well.
    Success,
    /// It did not: [`Refusal::log`](crate::Refusal), or the message that the client is told.
    Failure(&'a str),
    /// The status of the answer.
    Completed(u16),
}

/// A log in the making.
#[derive(Clone, Debug)]
pub struct ExecutionLog {
    text: String,
    date: String,
}

/// A line shows no more of a body or of headers: CloudWatch's lines end there as well.
const LONGEST: usize = 1024;

impl ExecutionLog {
    /// The log of a call that began then.
    #[must_use]
    pub fn new(request_id: &str, unix_seconds: u64) -> Self {
        let mut log =
            Self { text: format!("Execution log for request {request_id}\n"), date: date(unix_seconds) };
        log.line("Starting execution for request: ", |text| text.push_str(request_id));
        log
    }

    /// The clock has gone on.
    pub fn set_time(&mut self, unix_seconds: u64) {
        self.date = date(unix_seconds);
    }

    fn line(&mut self, words: &str, rest: impl FnOnce(&mut String)) {
        let Self { text, date } = self;
        text.push_str(date);
        text.push_str(" : ");
        text.push_str(words);
        let start = text.len();
        rest(text);
        if text.len() - start > LONGEST {
            text.truncate(text.floor_char_boundary(start + LONGEST));
            text.push_str(" [TRUNCATED]");
        }
        text.push('\n');
    }

    /// Adds a line.
    pub fn add(&mut self, step: Step<'_>) {
        let (words, value) = match step {
            Step::Method(method, path) => {
                return self.line("HTTP Method: ", |text| {
                    let _ = write!(text, "{method}, Resource Path: {path}");
                });
            }
            Step::Received(status, ms) => {
                return self.line("Received response. ", |text| {
                    let _ = write!(text, "Status: {status}, Integration latency: {ms} ms");
                });
            }
            Step::Completed(status) => {
                return self.line("Method completed with status: ", |text| {
                    let _ = write!(text, "{status}");
                });
            }
            Step::RequestPath(pairs) => return self.line("Method request path: ", |text| map(pairs, text)),
            Step::RequestQuery(pairs) => {
                return self.line("Method request query string: ", |text| map(pairs, text));
            }
            Step::RequestHeaders(pairs) => {
                return self.line("Method request headers: ", |text| map(pairs, text));
            }
            Step::EndpointRequestHeaders(pairs) => {
                return self.line("Endpoint request headers: ", |text| map(pairs, text));
            }
            Step::EndpointResponseHeaders(pairs) => {
                return self.line("Endpoint response headers: ", |text| map(pairs, text));
            }
            Step::ResponseHeaders(pairs) => {
                return self.line("Method response headers: ", |text| map(pairs, text));
            }
            Step::AuthorizerSuccess(principal) => {
                self.line("Using valid authorizer policy for principal: ", |text| text.push_str(principal));
                ("Successfully completed authorizer execution", "")
            }
            Step::Authorizer(name) => ("Starting authorizer: ", name),
            Step::AuthorizerResult(body) => ("Authorizer result body before parsing: ", body),
            Step::RequestBody(body) => ("Method request body before transformations: ", body),
            Step::EndpointUri(uri) => ("Endpoint request URI: ", uri),
            Step::EndpointRequestBody(body) => ("Endpoint request body after transformations: ", body),
            Step::Sending(uri) => ("Sending request to ", uri),
            Step::EndpointResponseBody(body) => ("Endpoint response body before transformations: ", body),
            Step::ResponseBody(body) => ("Method response body after transformations: ", body),
            Step::Success => ("Successfully completed execution", ""),
            Step::Failure(why) => ("", why),
        };
        self.line(words, |text| text.push_str(value));
    }

    /// The lines so far.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A map as Java prints it; a name's further values follow its first one.
fn map(pairs: Pairs<'_>, text: &mut String) {
    text.push('{');
    let mut first = true;
    for (at, (name, value)) in pairs.iter().enumerate() {
        let before = pairs.get(..at).unwrap_or_default();
        if before.iter().any(|(known, _)| known == name) {
            continue;
        }
        text.push_str(if std::mem::replace(&mut first, false) { "" } else { ", " });
        let _ = write!(text, "{name}={value}");
        for (_, more) in pairs.iter().skip(at + 1).filter(|(later, _)| later == name) {
            text.push(',');
            text.push_str(more);
        }
        // Nothing after this would be shown.
        if text.len() > 16 * LONGEST {
            break;
        }
    }
    text.push('}');
}

/// `Fri Nov 27 05:30:24 UTC 2026`.
fn date(unix_seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let weekday = DAYS.get((days % 7) as usize).copied().unwrap_or_default();
    let Date { year, month, day } = Date::of_day(days as i64);
    let month = MONTHS.get(usize::from(month) - 1).copied().unwrap_or_default();
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

#[cfg(test)]
mod tests {
    use super::{ExecutionLog, Step, date};

    #[test]
    fn dates_are_written_as_java_writes_them() {
        for (seconds, text) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_399, "Mon Feb 28 23:59:59 UTC 2000"),
            (951_868_799, "Tue Feb 29 23:59:59 UTC 2000"),
            (1_795_757_424, "Fri Nov 27 05:30:24 UTC 2026"),
            (4_107_542_399, "Sun Feb 28 23:59:59 UTC 2100"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn the_log_of_a_call_has_awss_lines() {
        let mut log = ExecutionLog::new("r-1", 0);
        for step in [
            Step::Method("POST", "/users/{id}"),
            Step::RequestPath(&[("id", "7")]),
            Step::RequestQuery(&[("a", "1"), ("b", "2"), ("a", "3")]),
            Step::RequestHeaders(&[]),
            Step::RequestBody("{}"),
            Step::EndpointUri("http://h/7"),
            Step::EndpointRequestHeaders(&[("X-A", "b")]),
            Step::EndpointRequestBody("<a/>"),
            Step::Sending("http://h/7"),
            Step::Received(200, 12),
            Step::EndpointResponseHeaders(&[]),
            Step::EndpointResponseBody("ok"),
            Step::ResponseBody("{\"ok\":1}"),
            Step::ResponseHeaders(&[("Content-Type", "application/json")]),
            Step::Success,
            Step::Completed(200),
        ] {
            log.add(step);
        }
        let lines: Vec<_> = log.as_str().lines().collect();
        assert_eq!(lines[0], "Execution log for request r-1");
        let date = "Thu Jan 01 00:00:00 UTC 1970 : ";
        let rest: Vec<_> = lines[1..].iter().map(|line| line.strip_prefix(date).unwrap()).collect();
        assert_eq!(
            rest,
            [
                "Starting execution for request: r-1",
                "HTTP Method: POST, Resource Path: /users/{id}",
                "Method request path: {id=7}",
                "Method request query string: {a=1,3, b=2}",
                "Method request headers: {}",
                "Method request body before transformations: {}",
                "Endpoint request URI: http://h/7",
                "Endpoint request headers: {X-A=b}",
                "Endpoint request body after transformations: <a/>",
                "Sending request to http://h/7",
                "Received response. Status: 200, Integration latency: 12 ms",
                "Endpoint response headers: {}",
                "Endpoint response body before transformations: ok",
                "Method response body after transformations: {\"ok\":1}",
                "Method response headers: {Content-Type=application/json}",
                "Successfully completed execution",
                "Method completed with status: 200",
            ]
        );
    }

    #[test]
    fn long_values_are_cut_and_failures_told() {
        let mut log = ExecutionLog::new("r-1", 0);
        log.add(Step::RequestBody(&"é".repeat(5000)));
        log.add(Step::Failure("Execution failed due to configuration error: x"));
        assert!(log.as_str().contains("é [TRUNCATED]\n"));
        assert!(log.as_str().len() < 1400);
        assert!(log.as_str().ends_with(" : Execution failed due to configuration error: x\n"));
    }
}
