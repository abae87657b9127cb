//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

use aihub_core::Network;
use http::HeaderMap;

/// The other end of the connection, put in a request's extensions by the server that accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Who is behind `peer`: itself, or the nearest address in `X-Forwarded-For` that is no trusted proxy.
pub(super) fn caller(peer: Peer, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let trusts = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer.0.ip().to_canonical();
    if !trusts(nearest) {
        return nearest;
    }
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().map(|line| line.to_str().unwrap_or("?")).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        // What is no address was not written by a proxy worth of trust: nothing further left counts.
        let Some(address) = read(hop.trim()) else { return nearest };
        nearest = address;
        if !trusts(nearest) {
            return nearest;
        }
    }
    nearest
}

/// Some proxies add the port.
fn read(hop: &str) -> Option<IpAddr> {
    let address = hop.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}
