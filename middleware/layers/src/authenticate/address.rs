//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use aihub_core::Error;
use http::HeaderMap;

/// The other end of the connection, put in a request's extensions by the server that accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// An address, or all that start with the same bits: `10.0.0.0/8`, `2001:db8::/32`, `127.0.0.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    start: IpAddr,
    bits: u32,
}

impl Network {
    /// Whether `address` is one of them. An IPv4 address mapped to IPv6 is the same address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.start, address.to_canonical()) {
            (IpAddr::V4(start), IpAddr::V4(address)) => {
                let differ = u32::from(start) ^ u32::from(address);
                differ.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(start), IpAddr::V6(address)) => {
                let differ = u128::from(start) ^ u128::from(address);
                differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let start = address.to_canonical();
        Self { start, bits: if start.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong =
            || Error::invalid("network", format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"));
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let whole = Self::from(address.parse::<IpAddr>().map_err(|_| wrong())?);
        let bits = bits.map_or(Ok(whole.bits), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > whole.bits {
            return Err(wrong());
        }
        Ok(Self { bits, ..whole })
    }
}

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
