//! HTTP/1 on the loopback interface, with a bound on what a connection holds.

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::net::TcpListener;

/// What a connection reads at once, and what it writes before it waits; hyper's own measure is 400 KiB each. The head of a
/// message must fit.
const BUFFER_BYTES: usize = 128 << 10;

/// How long nothing is accepted after descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers on a listener for as long as it is polled. Connections go on by themselves.
pub(crate) async fn serve<S, B>(listener: TcpListener, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            // Who wanted to connect has gone (accept(2), "Error handling").
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) =>
            {
                continue;
            }
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Small messages in both directions: Nagle would hold them back.
        let _ = socket.set_nodelay(true);
        let service = service.clone();
        tokio::spawn(async move {
            // One that breaks ends; who was served by it sees that.
            let _ = http1::Builder::new()
                .max_buf_size(BUFFER_BYTES)
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}
