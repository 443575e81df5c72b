//! A way into a container: its health checks.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ContainerInspectResponse, ExecConfig};
use bollard::query_parameters::InspectContainerOptions;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{sleep, timeout};

use super::words;
use crate::health::late;
use crate::runtime::{Inside, WORDS_BYTES_MAX, said};

/// The pause before the engine is asked once more how a program ended whose output has just ended.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How long killing a program that took too long may take.
const KILL_WITHIN: Duration = Duration::from_secs(5);

/// One container, from within.
pub(super) struct Within {
    pub(super) client: bollard::Docker,
    pub(super) id: String,
}

impl Inside for Within {
    fn run<'a>(&'a self, command: &'a [String], within: Duration) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let config = ExecConfig {
                cmd: Some(command.to_vec()),
                attach_stdout: Some(true),
                attach_stderr: Some(true),
                ..ExecConfig::default()
            };
            let created = timeout(within, self.client.create_exec(&self.id, config)).await;
            let exec = created.map_err(|_| late(within))?.map_err(|e| words(&e))?.id;
            match timeout(within, self.exec(&exec)).await {
                Ok(said) => said,
                Err(_) => {
                    if timeout(KILL_WITHIN, self.kill(&exec)).await.is_err() {
                        tracing::debug!(
                            container = self.id,
                            "the Docker engine does not say which process a check is"
                        );
                    }
                    Err(late(within))
                }
            }
        }
        .boxed()
    }

    /// Its own address on the first of its networks; loopback for one that shares the host's.
    fn address(&self) -> BoxFuture<'_, Result<IpAddr, String>> {
        async move {
            let inspected = self.client.inspect_container(&self.id, None::<InspectContainerOptions>).await;
            address_of(&inspected.map_err(|e| words(&e))?)
                .ok_or_else(|| "the container has no address of its own".to_owned())
        }
        .boxed()
    }
}

impl Within {
    async fn exec(&self, exec: &str) -> Result<(), String> {
        let started = self.client.start_exec(exec, None::<StartExecOptions>).await.map_err(|e| words(&e))?;
        let mut printed = Vec::new();
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(line) = output.next().await {
                let line = line.map_err(|e| words(&e))?.into_bytes();
                let room = WORDS_BYTES_MAX.saturating_sub(printed.len());
                printed.extend(line.iter().take(room));
            }
        }
        loop {
            let how = self.client.inspect_exec(exec).await.map_err(|e| words(&e))?;
            match how.exit_code {
                Some(0) => return Ok(()),
                Some(code) => return Err(said(&format!("exit code {code}"), &printed)),
                // The end of its output is heard of a moment before its own.
                None => sleep(ASK_AGAIN).await,
            }
        }
    }

    /// Kills a program that took too long. The engine has no call for that, so it is done by the process's number,
    /// which means something only where the engine's processes are ours to see: the process's control group has to
    /// name this container. Else it ends with the container.
    async fn kill(&self, exec: &str) {
        let Ok(how) = self.client.inspect_exec(exec).await else { return };
        let number = how.pid.filter(|_| how.running == Some(true)).and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = number.and_then(Pid::from_raw) else { return };
        // Opened before it is looked at, so that it is the one that is looked at.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if groups.contains(&self.id)
            && let Err(e) = pidfd_send_signal(process, Signal::KILL)
        {
            tracing::debug!(container = self.id, error = %e, "a check that took too long is not killed");
        }
    }
}

fn address_of(container: &ContainerInspectResponse) -> Option<IpAddr> {
    let mode = container.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
    if mode == Some("host") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let networks = container.network_settings.as_ref()?.networks.as_ref()?;
    let mut named: Vec<_> = networks.iter().collect();
    named.sort_unstable_by_key(|(name, _)| name.as_str());
    let addresses = named.iter().flat_map(|(_, network)| [&network.ip_address, &network.global_ipv6_address]);
    addresses.flatten().find_map(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(json: &str) -> ContainerInspectResponse {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_container_is_reached_where_it_is() {
        let own = r#"{"NetworkSettings":{"Networks":{"b":{"IPAddress":"172.18.0.2"},"a":{"IPAddress":"","GlobalIPv6Address":"fd00::2"}}}}"#;
        assert_eq!(address_of(&container(own)), Some("fd00::2".parse().unwrap()));
        let host = r#"{"HostConfig":{"NetworkMode":"host"},"NetworkSettings":{"Networks":{"host":{"IPAddress":""}}}}"#;
        assert_eq!(address_of(&container(host)), Some("127.0.0.1".parse().unwrap()));
        let none = r#"{"HostConfig":{"NetworkMode":"none"},"NetworkSettings":{"Networks":{"none":{"IPAddress":""}}}}"#;
        assert_eq!(address_of(&container(none)), None);
    }
}
