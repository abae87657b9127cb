//! The least a gateway can be: hyper in front, hyper's client behind, bodies passed as they come both ways.
//!
//! `bare-proxy --upstream http://127.0.0.1:9000/api/v1 [--prefix /v1] [--listen 127.0.0.1:0]`: a path that begins with the
//! prefix begins with the upstream's path instead; any other path goes to the upstream's host unchanged.

use std::rc::Rc;

use aihub_bench::{Failure, options, serve};
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where requests go.
struct Route {
    client: Client<HttpConnector, Incoming>,
    host: Authority,
    prefix: String,
    base: String,
}

fn main() -> Result<(), Failure> {
    let options = options(std::env::args().skip(1), &["listen", "upstream", "prefix"])?;
    let upstream: Uri = options.get("upstream").ok_or("--upstream URL is missing")?.parse()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let route = Rc::new(Route {
        client: Client::builder(TokioExecutor::new()).build(connector),
        host: upstream.authority().ok_or("--upstream needs a host")?.clone(),
        prefix: options.get("prefix").map_or("/v1", String::as_str).to_owned(),
        base: upstream.path().trim_end_matches('/').to_owned(),
    });
    serve(options.get("listen").map_or("127.0.0.1:0", String::as_str), move |request| {
        let route = Rc::clone(&route);
        async move { pass(&route, request).await }
    })
}

async fn pass(route: &Route, mut request: Request<Incoming>) -> Response<Either<Incoming, Empty<Bytes>>> {
    let Some(uri) = route.upstream(request.uri()) else {
        return bad_gateway();
    };
    *request.uri_mut() = uri;
    request.headers_mut().remove(header::HOST);
    match route.client.request(request).await {
        Ok(reply) => reply.map(Either::Left),
        Err(_) => bad_gateway(),
    }
}

fn bad_gateway() -> Response<Either<Incoming, Empty<Bytes>>> {
    let mut reply = Response::new(Either::Right(Empty::new()));
    *reply.status_mut() = StatusCode::BAD_GATEWAY;
    reply
}

impl Route {
    fn upstream(&self, uri: &Uri) -> Option<Uri> {
        let path = uri.path_and_query()?;
        let path = match path.as_str().strip_prefix(&self.prefix) {
            Some(rest) if rest.starts_with('/') => PathAndQuery::try_from(format!("{}{rest}", self.base)).ok()?,
            _ => path.clone(),
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.host.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    }
}
