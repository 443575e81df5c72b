//! Checks over the network. As little HTTP as a question whether somebody answers needs: a GET, and the status line of
//! the answer.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The most bytes of an answer that are read for its status line.
const STATUS_LINE_MAX: usize = 1024;

/// Whether somebody takes a connection.
pub(super) async fn tcp(address: SocketAddr) -> Result<(), String> {
    TcpStream::connect(address).await.map(drop).map_err(|e| e.to_string())
}

/// Whether a GET is answered with a status from 200 to 399.
pub(super) async fn http(address: SocketAddr, path: &str) -> Result<(), String> {
    let mut stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: muster-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    let line = status_line(&mut stream).await?;
    match status(&line) {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("status {code}")),
        None => Err("the answer is not HTTP".to_owned()),
    }
}

async fn status_line(stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    let mut part = [0; 256];
    while !line.contains(&b'\n') && line.len() < STATUS_LINE_MAX {
        match stream.read(&mut part).await.map_err(|e| e.to_string())? {
            0 if line.is_empty() => return Err("the connection was closed without an answer".to_owned()),
            0 => break,
            read => line.extend_from_slice(&part[..read]),
        }
    }
    Ok(line)
}

/// The code of `HTTP/1.1 200 OK`.
fn status(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.split(|b| *b == b'\n').next()?).ok()?;
    let mut words = text.strip_prefix("HTTP/1.")?.split_whitespace();
    words.next()?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// What is said of a server that answers like this, and what it was asked.
    async fn said_of(answer: &'static str) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            let mut part = [0; 1024];
            while !asked.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut part).await.unwrap();
                asked.extend_from_slice(&part[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        let said = http(address, "/well?deep=1").await;
        (said, serving.await.unwrap())
    }

    #[tokio::test]
    async fn the_status_is_what_counts() {
        for (answer, words) in [
            ("HTTP/1.1 200 OK\r\n\r\n", None),
            ("HTTP/1.0 204 No Content\r\nServer: x\r\n\r\n", None),
            ("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", None),
            ("HTTP/1.1 404 Not Found\r\n\r\n", Some("status 404")),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Some("status 503")),
            ("SSH-2.0-OpenSSH_9.2\r\n", Some("the answer is not HTTP")),
            ("", Some("the connection was closed without an answer")),
        ] {
            let (said, asked) = said_of(answer).await;
            assert_eq!(said.err().as_deref(), words, "{answer}");
            assert!(asked.starts_with("GET /well?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:"), "{asked}");
        }
    }

    #[tokio::test]
    async fn a_port_answers_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(tcp(address).await, Ok(()));
        drop(listener);
        assert!(tcp(address).await.unwrap_err().contains("refused"));
        assert!(http(address, "/").await.unwrap_err().contains("refused"));
    }
}
