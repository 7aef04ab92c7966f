//! The smallest proxy that Pingora makes, as a peer of the load benchmark: a fixed upstream, and a fixed answer under `/mock/`.

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

struct Peer {
    upstream: String,
    mock: Bytes,
}

#[async_trait]
impl ProxyHttp for Peer {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn request_filter(&self, session: &mut Session, _ctx: &mut Self::CTX) -> Result<bool> {
        if !session.req_header().uri.path().starts_with("/mock/") {
            return Ok(false);
        }
        let mut head = ResponseHeader::build(200, Some(2))?;
        head.insert_header("content-type", "application/json")?;
        head.insert_header("content-length", self.mock.len().to_string())?;
        session.write_response_header(Box::new(head), false).await?;
        session.write_response_body(Some(self.mock.clone()), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream.as_str(), false, String::new())))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("usage: bench-pingora LISTEN UPSTREAM MOCK_FILE");
    let (listen, upstream, mock) = (next(), next(), next());
    let mock = Bytes::from(std::fs::read(mock).expect("the mock answer's file"));
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 256, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Peer { upstream, mock });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
