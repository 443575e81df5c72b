//! Ports, looked at before anything is started, so that one in use is told with the option that changes it.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::exit::Failure;

/// Refuses an address on which somebody else listens. `what` will listen, `option` says where.
pub(crate) fn free(address: SocketAddr, what: &str, option: &str) -> Result<(), Failure> {
    TcpListener::bind(address).map(drop).map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => {
            Failure::failed(format!("{address}, meant for {what}, is in use by another program"))
                .hint(format!("Stop that one, or choose another with {option}."))
        }
        _ => Failure::failed(format!("{address}, meant for {what}, cannot be used: {e}"))
            .hint(format!("Choose another with {option}.")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_with_what_to_do() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let failure = free(address, "the API", "--listen").unwrap_err().to_string();
        for part in [address.to_string().as_str(), "the API", "--listen"] {
            assert!(failure.contains(part), "{failure}");
        }
    }
}
