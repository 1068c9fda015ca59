//! Connections through an HTTP proxy: the method CONNECT (RFC 9110 § 9.3.6), basic authentication (RFC 7617).

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sorcha_peer_config::proxy::{Credentials, Proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::io::{plain, spoken};

/// Head of the proxy's answer at most; what sets cookies and explains itself has less than 4 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A name or a password is no longer than this.
const CREDENTIAL_BYTES_MAX: u64 = 1024;

/// Lets the proxy at the other end connect to `host:port`; afterwards the connection is one to there. An error says what the
/// proxy said, and what to do.
pub(super) async fn open(tcp: &mut TcpStream, to: &str, proxy: &Proxy) -> Result<(), String> {
    let authorization = match &proxy.credentials {
        Credentials::None => Zeroizing::default(),
        Credentials::Given { user, password } => basic(user, password),
        Credentials::Directory(directory) => {
            basic(&read(directory, "username").await?, &read(directory, "password").await?)
        }
    };
    let request = Zeroizing::new(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n", *authorization));
    let broke = |error: io::Error| format!("it broke the connection off: {}", plain(&error));
    tcp.write_all(request.as_bytes()).await.map_err(broke)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(format!(
                "its answer has more than {HEAD_BYTES_MAX} bytes of headers: is it a proxy?"
            ));
        }
        // One by one: what follows the head is the other side's. Nothing does before this side has spoken, but for a fault.
        match tcp.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && head.is_empty() => {
                return Err("it closed the connection without an answer: does it speak TLS?".into());
            }
            Err(error) => return Err(broke(error)),
        }
    }
    let status = status(&head).ok_or_else(|| {
        let shown: String = String::from_utf8_lossy(&head).chars().take(40).collect();
        format!("it does not speak HTTP; its answer begins with '{}'", spoken(&shown))
    })?;
    match status.split(' ').next().unwrap_or_default() {
        // RFC 9110: any 2xx.
        code if code.starts_with('2') => Ok(()),
        "407" if matches!(proxy.credentials, Credentials::None) => Err(
            "it asks for a name and a password (407): give them in proxy.credentialsDirectory, or in HTTPS_PROXY as http://name:password@host:port"
                .into(),
        ),
        "407" => Err("it refuses the name and the password it was given (407)".into()),
        "403" => Err(format!("it does not allow that (answer {status}): ask who runs it to allow CONNECT to {to}")),
        _ => Err(format!("it answered {status}")),
    }
}

/// Code and reason of a whole head, in printable letters.
fn status(head: &[u8]) -> Option<String> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (version, status) = line.split_once(' ')?;
    let is_code = status.len() >= 3 && status.bytes().take(3).all(|byte| byte.is_ascii_digit());
    (version.starts_with("HTTP/1.") && is_code).then(|| spoken(status.trim_end()))
}

fn basic(user: &str, password: &str) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let coded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Zeroizing::new(format!("Proxy-Authorization: Basic {}\r\n", *coded))
}

/// Read anew for each connection, so that a password that changes counts from the next one on.
async fn read(directory: &Path, name: &str) -> Result<Zeroizing<String>, String> {
    let path = directory.join(name);
    let refused = |why: &str| format!("{}: {why} (proxy.credentialsDirectory)", path.display());
    let file = tokio::fs::File::open(&path).await.map_err(|error| refused(&plain(&error)))?;
    let mut text = Zeroizing::new(String::new());
    let read = file.take(CREDENTIAL_BYTES_MAX).read_to_string(&mut text).await;
    read.map_err(|error| refused(&plain(&error)))?;
    let text = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    if text.chars().any(char::is_control) {
        return Err(refused("one line of text is wanted"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn proxy(credentials: Credentials) -> Proxy {
        Proxy { address: "proxy.example:3128".into(), credentials, ..Proxy::default() }
    }

    /// What the proxy was sent, and what came of its answer.
    async fn asked(proxy: &Proxy, answer: &'static str) -> (String, Result<(), String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let answering = async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match far.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => break,
                }
            }
            far.write_all(answer.as_bytes()).await.unwrap();
            drop(far);
            String::from_utf8(request).unwrap()
        };
        let opening = async {
            let opened = open(&mut tcp, "bob.example:7450", proxy).await;
            drop(tcp);
            opened
        };
        tokio::join!(answering, opening)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_connection_with_a_name_and_a_password_where_there_are_some() {
        let (request, opened) = asked(&proxy(Credentials::None), "HTTP/1.1 200 OK\r\n\r\n").await;
        assert_eq!(request, "CONNECT bob.example:7450 HTTP/1.1\r\nHost: bob.example:7450\r\n\r\n");
        assert_eq!(opened, Ok(()));

        let given = Credentials::Given { user: "Aladdin".into(), password: "open sesame".into() };
        let answer = "HTTP/1.0 204 Connected\r\nX: y\r\n\r\n";
        let (request, opened) = asked(&proxy(given), answer).await;
        // The example of RFC 7617.
        assert!(
            request.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"),
            "{request}"
        );
        assert_eq!(opened, Ok(()));
    }

    #[tokio::test]
    async fn credentials_come_from_files_and_are_read_anew() {
        let directory = tempfile::tempdir().unwrap();
        let of_files = proxy(Credentials::Directory(directory.path().to_owned()));
        let (_, opened) = asked(&of_files, "HTTP/1.1 200 OK\r\n\r\n").await;
        let refused = opened.unwrap_err();
        assert!(
            refused.ends_with("username: no such file or directory (proxy.credentialsDirectory)"),
            "{refused}"
        );
        for password in ["one", "two"] {
            std::fs::write(directory.path().join("username"), "alice\n").unwrap();
            std::fs::write(directory.path().join("password"), format!("{password}\r\n")).unwrap();
            let (request, opened) = asked(&of_files, "HTTP/1.1 200 OK\r\n\r\n").await;
            let coded = STANDARD.encode(format!("alice:{password}"));
            assert!(request.contains(&format!("Basic {coded}\r\n")) && opened.is_ok(), "{request}");
        }
        std::fs::write(directory.path().join("password"), "two\nlines").unwrap();
        let (_, opened) = asked(&of_files, "HTTP/1.1 200 OK\r\n\r\n").await;
        assert!(opened.unwrap_err().contains("password: one line of text is wanted"));
    }

    #[tokio::test]
    async fn what_a_proxy_refuses_is_said_with_what_to_do() {
        let given = || Credentials::Given { user: "a".into(), password: "b".into() };
        for (credentials, answer, said) in [
            (
                Credentials::None,
                "HTTP/1.1 407 Authenticate\r\n\r\n",
                "give them in proxy.credentialsDirectory",
            ),
            (given(), "HTTP/1.1 407 Authenticate\r\n\r\n", "it refuses the name and the password"),
            (given(), "HTTP/1.1 403 Forbidden\r\n\r\n", "allow CONNECT to bob.example:7450"),
            (given(), "HTTP/1.1 503 Service \x1b[1mdown\r\n\r\n", "it answered 503 Service  [1mdown"),
            (given(), "SSH-2.0-OpenSSH_9\r\n\r\n", "its answer begins with 'SSH-2.0-OpenSSH_9"),
            (given(), "HTTP/1.1 9\r\n\r\n", "it does not speak HTTP"),
            (given(), "", "does it speak TLS?"),
            (given(), "HTTP/1.1 200 OK\r\n", "it broke the connection off"),
        ] {
            let (_, opened) = asked(&proxy(credentials), answer).await;
            let refused = opened.unwrap_err();
            assert!(refused.contains(said), "{answer:?}: {refused}");
        }
        let long: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(20_000)).into());
        let (_, opened) = asked(&proxy(Credentials::None), long).await;
        assert!(opened.unwrap_err().contains("more than 16384 bytes of headers"));
    }
}
