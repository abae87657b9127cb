//! Who a Postgres server is believed to be.

use std::sync::Arc;

use aihub_core::Result;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::wrong;

/// Whether and how a connection is encrypted.
#[derive(Clone)]
pub(super) struct Tls {
    mode: SslMode,
    /// `None` where nothing is encrypted.
    config: Option<Arc<ClientConfig>>,
}

impl Tls {
    /// `mode` and `roots` as the URL gives them; `here` is a server on this machine.
    pub(super) fn new(mode: Option<&str>, roots: Option<&str>, here: bool) -> Result<Self> {
        let (ssl, verified) = match mode {
            Some("disable") => (SslMode::Disable, false),
            None if here && roots.is_none() => (SslMode::Disable, false),
            Some("prefer") => (SslMode::Prefer, false),
            Some("require") => (SslMode::Require, roots.is_some()),
            Some("verify-full") | None => (SslMode::Require, true),
            Some(_) => {
                return Err(wrong(
                    "the `sslmode` of the Postgres URL is not known: use disable, prefer, require or verify-full",
                ));
            }
        };
        let config = match ssl {
            SslMode::Disable => None,
            _ if verified => Some(builder()?.with_root_certificates(trusted(roots)?).with_no_client_auth()),
            _ => {
                let anybody = Arc::new(Anybody(Arc::new(aws_lc_rs::default_provider())));
                Some(builder()?.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth())
            }
        };
        Ok(Self { mode: ssl, config: config.map(Arc::new) })
    }

    pub(super) fn mode(&self) -> SslMode {
        self.mode
    }

    pub(super) fn connector(&self) -> Option<MakeRustlsConnect> {
        self.config.as_ref().map(|config| MakeRustlsConnect::new(ClientConfig::clone(config)))
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn builder() -> Result<Builder> {
    // The provider by name: which one is the process's default is not for a library to say.
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("TLS to Postgres cannot be set up: {error}")))
}

fn trusted(file: Option<&str>) -> Result<RootCertStore> {
    let Some(file) = file else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let unreadable = |why: String| wrong(format!("the `sslrootcert` of the Postgres URL, {file}, {why}"));
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(format!("is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| unreadable(format!("holds no authority: {error}")))?;
    }
    if roots.is_empty() {
        return Err(unreadable("holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Believes everybody: what `sslmode=require` asks for, which keeps listeners out and impostors not.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
