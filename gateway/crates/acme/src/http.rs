//! HTTPS to the authority: a connection for each request, since days pass between orders. Bounded in time and size.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use sluice_tls::{ClientConfig, ServerName};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For a whole request.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of an answer.
const BODY_MAX_BYTES: usize = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Client(pub(crate) Arc<ClientConfig>);

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let uri = request.uri().clone();
            match tokio::time::timeout(PATIENCE, client.exchange(request)).await {
                Ok(Ok(response)) => Ok(BytesResponse::from(response)),
                Ok(Err(failure)) => Err(Error::Other(format!("{uri}: {failure}").into())),
                Err(_) => Err(Error::Other(format!("{uri}: no answer in {} s", PATIENCE.as_secs()).into())),
            }
        })
    }
}

impl Client {
    async fn exchange(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        let uri = request.uri().clone();
        if uri.scheme_str() != Some("https") {
            return Err("expected an https:// URL".into());
        }
        let authority = uri.authority().ok_or("a URL without a host")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
        // Origin form (RFC 9112 3.2.1).
        *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        let tcp = TcpStream::connect((host.as_str(), authority.port_u16().unwrap_or(443))).await?;
        let tls = TlsConnector::from(Arc::clone(&self.0)).connect(ServerName::try_from(host)?, tcp).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, BODY_MAX_BYTES).collect().await?.to_bytes();
            Ok(Response::from_parts(head, Full::new(body)))
        };
        // A connection that ends badly behind a whole answer takes nothing from that; before it, the exchange fails itself.
        let connection = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            done = exchange => done,
            never = connection => never,
        }
    }
}
