//! What a container is handed and hands on in files. They are put into it before it starts and read from it after its
//! end, as archives by way of the engine, so it matters neither whether the engine sees this worker's folders nor
//! whether the worker was restarted in between.

use std::time::Duration;

use bollard::errors::Error;
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use futures_util::StreamExt;
use muster_events::report::RESULT_BYTES_MAX;

use super::words;
use crate::agent::Assignment;
use crate::files::{self, INPUTS, MODULE_FILE, MODULE_TYPE, RESULT_FILE};

/// The folder in the container, below its root.
const FOLDER: &str = "muster";
const RESULT: &str = "/muster/result";
/// How often the engine is asked for a result.
const TRIES: u32 = 4;
/// The pause after the first time it does not answer; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// What an archive is made of, in blocks.
const BLOCK: usize = 512;
/// The longest name that fits into a header.
const NAME_BYTES_MAX: usize = 100;

/// What the program is told of the files.
pub(super) fn environment(assignment: &Assignment) -> Vec<(&'static str, String)> {
    let mut told = vec![(RESULT_FILE, RESULT.to_owned())];
    if let Some(module) = &assignment.spec.module {
        told.extend([(MODULE_FILE, format!("/{FOLDER}/module")), (MODULE_TYPE, module.kind.clone())]);
    }
    if assignment.spec.module.is_some() || !assignment.inputs.is_empty() {
        told.push((INPUTS, format!("/{FOLDER}/inputs")));
    }
    told
}

/// Puts the folder into a container that has not started.
pub(super) async fn hand(client: &bollard::Docker, id: &str, assignment: &Assignment) -> Result<(), Error> {
    let options = UploadToContainerOptionsBuilder::new().path("/").build();
    client.upload_to_container(id, Some(options), bollard::body_full(archive(assignment).into())).await
}

/// The folder as an archive. Whoever the program runs as may write its result there.
fn archive(assignment: &Assignment) -> Vec<u8> {
    let mut tar = Vec::new();
    entry(&mut tar, &format!("{FOLDER}/"), b'5', 0o777, b"");
    if let Some(module) = &assignment.spec.module {
        entry(&mut tar, &format!("{FOLDER}/module"), b'0', 0o644, module.serialized.as_bytes());
    }
    if assignment.spec.module.is_some() || !assignment.inputs.is_empty() {
        entry(&mut tar, &format!("{FOLDER}/inputs/"), b'5', 0o755, b"");
        for (name, result) in assignment.all_inputs() {
            entry(&mut tar, &format!("{FOLDER}/inputs/{name}"), b'0', 0o644, result.as_bytes());
        }
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

/// One entry. A name that is too long stands in one of its own before it, as GNU tar writes it.
fn entry(tar: &mut Vec<u8>, name: &str, kind: u8, mode: u32, data: &[u8]) {
    if name.len() > NAME_BYTES_MAX {
        entry(tar, "././@LongLink", b'L', 0o644, format!("{name}\0").as_bytes());
    }
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name.as_bytes()[..name.len().min(NAME_BYTES_MAX)]);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{:011o}", data.len()).as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar  ");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// What the program has handed on, if anything; or why that cannot be kept.
pub(super) async fn result(client: &bollard::Docker, id: &str) -> Result<Option<String>, String> {
    let mut pause = PAUSE_FIRST;
    for left in (0..TRIES).rev() {
        match download(client, id).await {
            Ok(result) => return result,
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
            Err(e) if left == 0 => {
                return Err(format!("its result cannot be had from its container: {}", words(&e)));
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(None)
}

/// Reads no more than a result may have, however large the file is.
async fn download(client: &bollard::Docker, id: &str) -> Result<Result<Option<String>, String>, Error> {
    let options = DownloadFromContainerOptionsBuilder::new().path(RESULT).build();
    let mut parts = client.download_from_container(id, Some(options)).boxed();
    let mut tar = Vec::new();
    while let Some(part) = parts.next().await {
        tar.extend_from_slice(&part?);
        if let Some(result) = read(&tar) {
            return Ok(result.map(Some));
        }
    }
    Ok(Err("its result file came in pieces that make no whole".to_owned()))
}

/// The first file of an archive, once enough of it is there.
fn read(tar: &[u8]) -> Option<Result<String, String>> {
    let (header, data) = tar.split_at_checked(BLOCK)?;
    if !matches!(header[156], b'0' | 0) {
        return Some(Err("its result file is no plain file".to_owned()));
    }
    let digits = String::from_utf8_lossy(&header[124..136]).trim_matches(['\0', ' ']).to_owned();
    // Sizes beyond octal are written in another way, and are too large in any case.
    let size = usize::from_str_radix(&digits, 8).unwrap_or(usize::MAX);
    let wanted = size.min(RESULT_BYTES_MAX + 1);
    let data = data.get(..wanted)?;
    Some(files::text(data.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;
    use std::sync::Arc;

    use muster_events::id::{AttemptRef, TaskId};
    use muster_events::spec::{Module, TaskDefinition};
    use uuid::Uuid;

    use super::*;

    fn assignment(inputs: &[(&str, &str)]) -> Assignment {
        let given = BTreeMap::from([("Restore, App".to_owned(), "restored".to_owned())]);
        let module = Module { kind: "Build, App".into(), serialized: "{}".into(), inputs: given };
        let definition = TaskDefinition {
            name: "x".into(),
            image: Some("busybox".into()),
            module: Some(module),
            ..TaskDefinition::default()
        };
        Assignment {
            attempt: AttemptRef { task: TaskId::new(Uuid::from_u128(7)), number: 1, fence: 9 },
            spec: Arc::new(definition.check().unwrap()),
            index: 0,
            job: "-".into(),
            ports: BTreeMap::new(),
            value: None,
            target: None,
            inputs: inputs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        }
    }

    #[test]
    fn tar_reads_what_we_write() {
        let folder = tempfile::tempdir().unwrap();
        let long = "n".repeat(255);
        let file = folder.path().join("x.tar");
        std::fs::write(&file, archive(&assignment(&[(&long, "long"), ("b", "")]))).unwrap();
        let untar = Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(folder.path()).status().unwrap();
        assert!(untar.success());
        let read = |name: &str| std::fs::read_to_string(folder.path().join(FOLDER).join(name)).unwrap();
        assert_eq!((read("module").as_str(), read("inputs/Restore, App").as_str()), ("{}", "restored"));
        assert_eq!((read(&format!("inputs/{long}")).as_str(), read("inputs/b").as_str()), ("long", ""));
    }

    #[test]
    fn we_read_what_tar_writes() {
        let folder = tempfile::tempdir().unwrap();
        let tarred = |name: &str| {
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(folder.path()).args(["-cf", "-", name]).output().unwrap().stdout
        };
        std::fs::write(folder.path().join("result"), "handed on").unwrap();
        let whole = tarred("result");
        assert_eq!(super::read(&whole), Some(Ok("handed on".to_owned())));
        assert_eq!(super::read(&whole[..BLOCK + 3]), None);
        assert_eq!(super::read(&whole[..100]), None);
        std::fs::write(folder.path().join("result"), vec![b'x'; RESULT_BYTES_MAX + 1]).unwrap();
        assert!(super::read(&tarred("result")).unwrap().unwrap_err().contains("larger"));
        std::os::unix::fs::symlink("/etc/shadow", folder.path().join("link")).unwrap();
        assert!(super::read(&tarred("link")).unwrap().unwrap_err().contains("plain file"));
    }
}
