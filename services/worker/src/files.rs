//! What a program is handed and hands on in files: its module and what the module depends on, and its result.
//!
//! The files of an attempt are named after it and lie in one folder below the worker's; they are gone with the attempt.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use muster_events::id::AttemptRef;
use muster_events::report::RESULT_BYTES_MAX;
use rustix::fs::OFlags;

use crate::agent::Assignment;
use crate::error::WorkerError;

/// Where a program writes what it hands on.
pub(crate) const RESULT_FILE: &str = "MUSTER_RESULT_FILE";
/// Where a program finds its module.
pub(crate) const MODULE_FILE: &str = "MUSTER_MODULE_FILE";
/// The module's type.
pub(crate) const MODULE_TYPE: &str = "MUSTER_MODULE_TYPE";
/// The folder in which each result the module depends on is a file of that name.
pub(crate) const INPUTS: &str = "MUSTER_INPUTS";

/// The folder below the worker's.
const FOLDER: &str = "attempts";

/// The folder of all attempts' files.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

/// Those of one attempt.
#[derive(Debug)]
pub(crate) struct AttemptFiles {
    result: PathBuf,
    module: PathBuf,
    inputs: PathBuf,
    /// Whether the latter two are there.
    laid: bool,
}

impl Files {
    /// The folder in the worker's data folder, emptied of what an earlier life left, but for the files of attempts that go on.
    pub(crate) fn open(data: &Path, go_on: &[AttemptRef]) -> Result<Self, WorkerError> {
        let folder = data.join(FOLDER);
        let failed = |what| {
            let path = folder.clone();
            move |source| WorkerError::Folder { what, path, source }
        };
        fs::create_dir_all(&folder).map_err(failed("cannot make"))?;
        let kept: BTreeSet<_> = go_on.iter().map(|attempt| stem(*attempt)).collect();
        empty(&folder, &kept).map_err(failed("cannot empty"))?;
        // Programs have working folders of their own, so what they are told must not depend on ours.
        let folder = folder.canonicalize().map_err(failed("cannot find"))?;
        Ok(Self { folder })
    }

    /// Those of an attempt, with what its program is handed laid out.
    pub(crate) fn lay(&self, assignment: &Assignment) -> io::Result<AttemptFiles> {
        let module = assignment.spec.module.as_ref();
        let laid = module.is_some() || !assignment.inputs.is_empty();
        let files = AttemptFiles { laid, ..self.of(assignment.attempt) };
        if files.laid {
            let laid = files.write(assignment);
            if let Err(e) = laid {
                files.clear();
                return Err(e);
            }
        }
        Ok(files)
    }

    /// Those of an attempt that an earlier life has laid out.
    pub(crate) fn of(&self, attempt: AttemptRef) -> AttemptFiles {
        let path = |kind: &str| self.folder.join(format!("{}.{kind}", stem(attempt)));
        AttemptFiles { result: path("result"), module: path("module"), inputs: path("inputs"), laid: true }
    }
}

/// What the names of an attempt's files begin with.
fn stem(attempt: AttemptRef) -> String {
    let AttemptRef { task, number, fence } = attempt;
    format!("{task}-{number}-{fence}")
}

fn empty(folder: &Path, kept: &BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| kept.contains(stem)) {
            continue;
        }
        if fs::symlink_metadata(&path)?.is_dir() {
            fs::remove_dir_all(&path)?
        } else {
            fs::remove_file(&path)?
        }
    }
    Ok(())
}

impl AttemptFiles {
    fn write(&self, assignment: &Assignment) -> io::Result<()> {
        if let Some(module) = &assignment.spec.module {
            fs::write(&self.module, &module.serialized)?;
        }
        fs::create_dir_all(&self.inputs)?;
        for (name, result) in assignment.all_inputs() {
            fs::write(self.inputs.join(name), result)?;
        }
        Ok(())
    }

    /// What the program is told of them.
    pub(crate) fn environment<'a>(
        &'a self,
        assignment: &'a Assignment,
    ) -> impl Iterator<Item = (&'static str, &'a std::ffi::OsStr)> {
        let module = assignment.spec.module.as_ref();
        let own = module.map(|m| [(MODULE_FILE, self.module.as_os_str()), (MODULE_TYPE, m.kind.as_ref())]);
        let inputs = self.laid.then_some((INPUTS, self.inputs.as_os_str()));
        std::iter::once((RESULT_FILE, self.result.as_os_str())).chain(own.into_iter().flatten()).chain(inputs)
    }

    /// What the program has handed on, if anything; or why that cannot be kept.
    pub(crate) fn result(&self) -> Result<Option<String>, String> {
        let found = match fs::symlink_metadata(&self.result) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("its result file cannot be looked at: {e}")),
        };
        if !found.is_file() {
            return Err("its result file is no plain file".to_owned());
        }
        // Never waits, should somebody put a pipe there meanwhile.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).unwrap_or_default();
        let mut bytes = Vec::new();
        fs::File::options()
            .read(true)
            .custom_flags(flags)
            .open(&self.result)
            .and_then(|file| file.take(RESULT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
            .map_err(|e| format!("its result file cannot be read: {e}"))?;
        text(bytes).map(Some)
    }

    /// Removes them.
    pub(crate) fn clear(&self) {
        let removed = |result: io::Result<()>, path: &Path| match result {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), error = %e, "a file of an attempt cannot be removed");
            }
            _ => {}
        };
        removed(fs::remove_file(&self.result), &self.result);
        if self.laid {
            removed(fs::remove_file(&self.module), &self.module);
            removed(fs::remove_dir_all(&self.inputs), &self.inputs);
        }
    }
}

/// Bytes as a result, or why they cannot be one.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() > RESULT_BYTES_MAX {
        return Err(format!("its result is larger than the {RESULT_BYTES_MAX} bytes that are kept"));
    }
    String::from_utf8(bytes).map_err(|_| "its result is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use muster_events::id::TaskId;
    use muster_events::spec::{Module, TaskDefinition};
    use uuid::Uuid;

    use super::*;

    fn assignment(module: Option<Module>, inputs: &[(&str, &str)]) -> Assignment {
        let definition = TaskDefinition {
            name: "x".into(),
            command: vec!["true".into()],
            module,
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

    fn module() -> Module {
        let inputs =
            BTreeMap::from([("Restore, App".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        Module { kind: "Build, App".into(), serialized: "{}".into(), inputs }
    }

    #[test]
    fn a_module_and_what_it_depends_on_lie_there_and_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), &[]).unwrap();
        let assignment = assignment(Some(module()), &[("b", "3"), ("c", "4")]);
        let laid = files.lay(&assignment).unwrap();
        let told: BTreeMap<_, _> = laid.environment(&assignment).collect();
        assert_eq!(fs::read_to_string(told[MODULE_FILE]).unwrap(), "{}");
        assert_eq!(told[MODULE_TYPE], "Build, App");
        let input = |name: &str| fs::read_to_string(Path::new(told[INPUTS]).join(name)).unwrap();
        // Of two the result that came with the order is the newer.
        assert_eq!([input("Restore, App"), input("b"), input("c")], ["1", "3", "4"]);
        assert_eq!(laid.result(), Ok(None));
        fs::write(told[RESULT_FILE], "done").unwrap();
        assert_eq!(laid.result(), Ok(Some("done".to_owned())));
        laid.clear();
        assert_eq!(fs::read_dir(&files.folder).unwrap().count(), 0);
    }

    #[test]
    fn without_a_module_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), &[]).unwrap();
        let assignment = assignment(None, &[]);
        let laid = files.lay(&assignment).unwrap();
        assert_eq!(laid.environment(&assignment).map(|(name, _)| name).collect::<Vec<_>>(), [RESULT_FILE]);
        assert_eq!(fs::read_dir(&files.folder).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_result_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::open(folder.path(), &[]).unwrap();
        let laid = files.lay(&assignment(None, &[])).unwrap();
        fs::write(&laid.result, vec![b'x'; RESULT_BYTES_MAX]).unwrap();
        assert_eq!(laid.result().unwrap().unwrap().len(), RESULT_BYTES_MAX);
        fs::write(&laid.result, vec![b'x'; RESULT_BYTES_MAX + 1]).unwrap();
        assert!(laid.result().unwrap_err().contains("larger"));
        fs::write(&laid.result, [0xff]).unwrap();
        assert!(laid.result().unwrap_err().contains("UTF-8"));
        fs::remove_file(&laid.result).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &laid.result).unwrap();
        assert!(laid.result().unwrap_err().contains("plain file"));
        // The next life begins with what goes on, else with an empty folder.
        let attempt = assignment(None, &[]).attempt;
        let files = Files::open(folder.path(), &[attempt]).unwrap();
        assert_eq!(fs::read_dir(&files.folder).unwrap().count(), 1);
        let files = Files::open(folder.path(), &[]).unwrap();
        assert_eq!(fs::read_dir(&files.folder).unwrap().count(), 0);
    }
}
