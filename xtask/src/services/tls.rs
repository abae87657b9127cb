//! A private authority and a certificate of the server, so that tests can ask for TLS and for its proof.

use std::path::PathBuf;
use std::time::Duration;

use super::scratch::Scratch;
use crate::{Result, setup};

/// Both certificates are described here in full: what the machine's own configuration adds differs from one to the next.
const CONFIGURATION: &str = "
[req]
prompt = no
distinguished_name = name

[name]
CN = localhost

[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash

[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
";

/// The key of the authority goes at once: nothing else will be signed with it.
const ISSUE: &str = r"
set -e
key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
openssl req -x509 $key -config tls.cnf -extensions authority -subj '/CN=AI Hub test authority' -days 30 \
  -keyout ca.key -out ca.pem
openssl req $key -config tls.cnf -keyout server.key -out server.csr
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
  -extfile tls.cnf -extensions server -out server.pem
rm ca.key server.csr
";

/// Where the files are.
#[derive(Debug)]
pub(super) struct Files {
    /// The certificate of the authority, which clients trust.
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// Makes an authority and, signed by it, a certificate for `localhost` and 127.0.0.1.
pub(super) fn issue(scratch: &Scratch, log: PathBuf) -> Result<Files> {
    setup::tool("openssl", "openssl")?;
    scratch.write("tls.cnf", CONFIGURATION)?;
    scratch.program("sh").args(["-c", ISSUE]).log(log).run(Duration::from_mins(1))?;
    Ok(Files {
        authority: scratch.path("ca.pem"),
        certificate: scratch.path("server.pem"),
        key: scratch.path("server.key"),
    })
}
