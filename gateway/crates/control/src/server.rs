//! The admin listener.

use crate::access::authorize;
use crate::admin::{Admin, Health, PlanInfo, RouteInfo, UpstreamInfo};
use crate::bans::{BanReport, ClientReport};
use crate::functions;
use crate::guard::guard;
use crate::v1;
use crate::xdp::XdpReport;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware, middleware::Next};
use serde_json::{Value, json};
use sluice_catalog::Catalog;
use sluice_store::StoreError;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use tokio::task::spawn_blocking;

/// How long answers under way may take once the thread is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Providers and renderings at once; more wait.
const BLOCKING_THREADS: usize = 2;

/// Of a whole catalog: thousands of APIs.
pub(crate) const CATALOG_MAX_BYTES: usize = 512 << 20;

#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) admin: Admin,
    /// One reload at a time: the second sees what the first published.
    reloading: Arc<Mutex<()>>,
}

/// Answers on `listener` until `stop` ends, then lets answers under way finish. Needs a tokio runtime with I/O.
///
/// # Errors
/// The listener could not be handed to the runtime.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let service = router(admin).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await
}

fn router(admin: Admin) -> Router {
    let names: Arc<[String]> = admin.host_names.clone().into();
    let context = Context { admin, reloading: Arc::default() };
    let payload = DefaultBodyLimit::max(sluice_functions::MAX_PAYLOAD_BYTES + 1);
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/routes", get(routes))
        .route("/plan", get(plan))
        .route("/upstreams", get(upstreams))
        .route("/catalog", get(catalog).put(replace).layer(DefaultBodyLimit::max(CATALOG_MAX_BYTES)))
        .route("/xdp", get(xdp))
        .route("/xdp/bans", get(bans))
        .route("/xdp/detach", post(detach))
        .route("/clients/{address}", get(client))
        .route("/functions", get(functions::list))
        .route("/functions/{name}/invoke", post(functions::call).layer(payload))
        .route("/functions/{name}/logs", get(functions::logs))
        .route("/reload", post(reload))
        .route("/upgrade", post(upgrade))
        .route(v1::RESET, post(reset))
        .fallback(control)
        .method_not_allowed_fallback(async || message(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
        .layer(middleware::from_fn_with_state(context.clone(), authorize))
        .layer(middleware::from_fn_with_state(context.clone(), operator))
        .with_state(context)
        .layer(middleware::from_fn_with_state(names, guard))
}

/// Whatever is not the admin API's own may be the AWS-compatible control plane's.
async fn control(State(context): State<Context>, request: Request) -> Response {
    if let Some(function) = functions::invoked(request.uri().path())
        && request.method() == Method::POST
    {
        return functions::lambda(context, &function, request).await;
    }
    match context.admin.control {
        Some(plane) if v1::is_ours(request.uri().path()) => v1::handle(plane, request).await,
        _ => no_control_plane(),
    }
}

async fn reset(State(context): State<Context>) -> Response {
    match context.admin.control {
        Some(plane) => v1::reset(plane).await,
        None => no_control_plane(),
    }
}

/// Tells of everybody whom the guard let pass.
async fn operator(State(context): State<Context>, request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let (actions, address) = (Arc::clone(&context.admin.actions), peer.ip());
        // It may have to wait for a lock. That it is done before the answer matters to nobody.
        drop(spawn_blocking(move || actions.operator_seen(address)));
    }
    next.run(request).await
}

/// An answer that only says what is wrong, in the shape of the gateway's own errors.
pub(crate) fn message(status: StatusCode, message: &str) -> (StatusCode, Json<Value>) {
    (status, Json(json!({ "message": message })))
}

/// Runs what may block away from the listener; a panic there is an answer of 500, and nobody else's concern.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Response> {
    spawn_blocking(work)
        .await
        .map_err(|_| message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response())
}

async fn health(State(context): State<Context>) -> Result<(StatusCode, Json<Health>), Response> {
    let health = blocking(move || (context.admin.health)()).await?;
    let status = if health.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(health)))
}

async fn metrics(State(context): State<Context>) -> Result<Response, Response> {
    let text = blocking(move || {
        let mut text = String::with_capacity(64 * 1024);
        context.admin.hub.render_prometheus(&mut text);
        text
    });
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.await?).into_response())
}

async fn routes(State(context): State<Context>) -> Result<Json<Vec<RouteInfo>>, Response> {
    blocking(move || Json((context.admin.routes)())).await
}

async fn plan(State(context): State<Context>) -> Result<Json<Vec<PlanInfo>>, Response> {
    blocking(move || Json((context.admin.plan)())).await
}

async fn upstreams(State(context): State<Context>) -> Result<Json<Vec<UpstreamInfo>>, Response> {
    blocking(move || Json(context.admin.actions.upstreams())).await
}

fn no_control_plane() -> Response {
    message(StatusCode::NOT_FOUND, "Not Found").into_response()
}

async fn catalog(State(context): State<Context>) -> Result<Json<Arc<Catalog>>, Response> {
    let plane = context.admin.control.ok_or_else(no_control_plane)?;
    blocking(move || Json(plane.store.catalog())).await
}

async fn replace(State(context): State<Context>, body: Bytes) -> Result<(StatusCode, Json<Value>), Response> {
    let catalog = match blocking(move || serde_json::from_slice::<Catalog>(&body)).await? {
        Ok(catalog) => catalog,
        Err(error) => return Ok(published(Err(vec![format!("expected a catalog: {error}")]))),
    };
    let plane = context.admin.control.ok_or_else(no_control_plane)?;
    Ok(match blocking(move || plane.replace(catalog)).await? {
        Ok(generation) => published(Ok(generation)),
        Err(StoreError::Refused(faults)) => published(Err(faults)),
        Err(error) => {
            let status = match error {
                StoreError::HandedOver => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, Json(json!({ "errors": [error.to_string()] })))
        }
    })
}

/// The answer of what may have changed what is served.
fn published(outcome: Result<u64, Vec<String>>) -> (StatusCode, Json<Value>) {
    match outcome {
        Ok(generation) => (StatusCode::OK, Json(json!({ "generation": generation }))),
        Err(errors) => (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "errors": errors }))),
    }
}

async fn xdp(State(context): State<Context>) -> Result<Json<XdpReport>, Response> {
    blocking(move || Json((context.admin.xdp)())).await
}

async fn bans(State(context): State<Context>) -> Result<Json<BanReport>, Response> {
    blocking(move || Json(context.admin.actions.bans())).await
}

async fn client(
    State(context): State<Context>,
    Path(address): Path<String>,
) -> Result<Json<ClientReport>, Response> {
    let Ok(address) = address.parse::<IpAddr>() else {
        let text = format!("expected an IP address, found \"{address}\"");
        return Err(message(StatusCode::BAD_REQUEST, &text).into_response());
    };
    blocking(move || Json(context.admin.actions.client(address))).await
}

async fn detach(State(context): State<Context>) -> Result<Json<Value>, Response> {
    blocking(move || Json(json!({ "detached": context.admin.actions.detach() }))).await
}

async fn reload(State(context): State<Context>) -> Result<(StatusCode, Json<Value>), Response> {
    let turn = context.reloading.lock_owned().await;
    let outcome = blocking(move || {
        let outcome = context.admin.reload.reload();
        // Held inside: a client that hangs up ends its wait, not the reload, and the next must not start beside it.
        drop(turn);
        outcome
    });
    Ok(published(outcome.await?))
}

async fn upgrade(State(context): State<Context>) -> Result<(StatusCode, Json<Value>), Response> {
    Ok(match blocking(move || (context.admin.upgrade)()).await? {
        Ok(pid) => (StatusCode::OK, Json(json!({ "pid": pid }))),
        Err(why) => (StatusCode::CONFLICT, Json(json!({ "errors": [why] }))),
    })
}

/// The admin listener on a thread of its own.
#[derive(Debug)]
pub struct ControlThread {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl ControlThread {
    /// Starts answering on `listener`.
    ///
    /// # Errors
    /// No thread, or no runtime.
    pub fn start(listener: TcpListener, admin: Admin) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("sluice-admin")
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("sluice-control".into()).spawn(move || {
            let (stopping, told) = oneshot::channel::<()>();
            let answer = runtime.block_on(async move {
                let serving = serve(listener, admin, async move {
                    let _ = stopped.await;
                    let _ = stopping.send(());
                });
                let overdue = async move {
                    // The sender goes without a word if `serving` fails first; then there's nothing to wait for.
                    let _ = told.await;
                    tokio::time::sleep(STOP_GRACE).await;
                };
                tokio::select! {
                    answer = serving => answer,
                    () = overdue => Ok(()),
                }
            });
            runtime.shutdown_timeout(STOP_GRACE);
            answer
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets answers under way finish, for a second at most, and ends the thread.
    ///
    /// # Errors
    /// The listener failed.
    pub fn stop(mut self) -> io::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> io::Result<()> {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(answer)) => answer,
            Some(Err(_)) => Err(io::Error::other("the control thread panicked")),
        }
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}
