//! Three servers with three copies of each stream: what the loss of one costs, and of two.

use std::sync::Arc;
use std::time::Instant;

use muster_log::bus::{Bus, CommandLog as _, Durability, EventLog as _, ServerState, Servers};
use muster_log::error::{AppendError, LogError};
use muster_log::nats::{NatsBus, NatsConfig, Streams};
use muster_tests::cluster::until;
use muster_tests::nats_server::{self, NatsServer, Options};

use super::fixtures::*;

pub(super) async fn start() -> [NatsServer; 3] {
    // Many cells ask for their bytes here, and use few of them.
    let jetstream = "max_file_store: 1TB".to_owned();
    nats_server::start_cluster(Options { jetstream, ..Options::default() }).await.unwrap()
}

pub(super) async fn buses(servers: &[NatsServer], cell: usize) -> Buses {
    let open = || NatsBus::open(on_servers(servers, cell));
    Buses { one: open().await.unwrap(), other: open().await.unwrap() }
}

/// Which of the servers leads the stream `kind`.
fn leader_of(servers: &Servers, kind: &str) -> Option<usize> {
    let stream = servers.streams.iter().find(|copies| copies.stream.ends_with(kind))?;
    let number: usize = stream.leader.as_ref()?.strip_prefix('n')?.parse().ok()?;
    Some(number - 1)
}

/// Waits until every copy of every stream is as new as its leader's.
async fn all_current(bus: &NatsBus) {
    until("all servers are current", async || {
        let now = bus.servers().await;
        let well = now.servers.len() == 3 && now.servers.iter().all(|s| s.state == ServerState::Current);
        (well && now.streams.len() == 6 && now.streams.iter().all(|s| s.leader.is_some())).then_some(())
    })
    .await;
}

/// Appends commits from `first` to `last`, each once, whoever is away meanwhile.
async fn append(bus: &NatsBus, first: u64, last: u64) {
    for number in first..=last {
        loop {
            match bus.append(&commit(number), number - 1).await {
                Ok(appended) => assert_eq!(appended.position, number),
                Err(AppendError::Conflict { .. }) => {
                    assert_eq!(bus.get(number).await.unwrap().unwrap().commit, commit(number));
                }
                Err(AppendError::Log(LogError::Unavailable(_))) => continue,
                Err(other) => panic!("{other}"),
            }
            break;
        }
    }
}

#[tokio::test]
async fn the_number_of_copies_is_chosen_at_the_beginning_and_kept() {
    let servers = start().await;
    let wish = |replicas, cell| NatsConfig { replicas, ..on_servers(&servers, cell) };
    for (first, kept) in [(None, 3), (Some(1), 1), (Some(3), 3)] {
        let cell = first.unwrap_or_default();
        assert_eq!(NatsBus::open(wish(first, cell)).await.unwrap().fitness().replicas, kept);
        // Who does not say gets what is there, whether it makes streams or not.
        for streams in [Streams::Make, Streams::Expect] {
            let later = NatsConfig { streams, ..wish(None, cell) };
            assert_eq!(NatsBus::open(later).await.unwrap().fitness().replicas, kept);
        }
        let other = 4 - kept;
        let error = NatsBus::open(wish(Some(other), cell)).await.map(drop).unwrap_err();
        let LogError::Unfit(lines) = &error else { panic!("{error}") };
        let said = [format!("keeps {kept} of each"), format!("--replicas {other}"), "--cell".to_owned()];
        assert!(lines.len() == 1 && said.iter().all(|said| lines[0].contains(said)), "{lines:?}");
    }
    let alone = NatsServer::start().await.unwrap();
    let error = NatsBus::open(NatsConfig { replicas: Some(3), ..NatsConfig::new(alone.url()) }).await;
    let error = error.map(drop).unwrap_err();
    assert!(matches!(&error, LogError::Unfit(l) if l[0].contains("not one of a cluster")), "{error}");
    assert_eq!(open(&alone).await.fitness().replicas, 1);
}

#[tokio::test]
async fn what_the_servers_vouch_for_and_how_they_do_is_known() {
    let mut servers = start().await;
    let bus = NatsBus::open(on_servers(&servers, 1)).await.unwrap();
    assert_eq!(bus.fitness().durability, Durability::Process);
    all_current(&bus).await;
    let now = bus.servers().await;
    let names: Vec<_> = now.servers.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    assert!(now.servers.iter().all(|s| s.version.is_some() && s.durability == Durability::Process));
    assert!(now.streams.iter().all(|stream| stream.copies.len() == 3));
    servers[2].kill9().unwrap();
    until("the third is missed", async || {
        let third = bus.servers().await.servers.into_iter().find(|s| s.name == "n3")?;
        (third.state == ServerState::Offline && third.version.is_none()).then_some(())
    })
    .await;
    servers[2].restart().await.unwrap();
    all_current(&bus).await;
}

/// How a server is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Killed,
    /// It keeps its connections, and says nothing.
    Frozen,
    /// It comes back with nothing.
    Wiped,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_any_one_costs_nothing_that_was_acknowledged() {
    const STEP: u64 = 300;
    let mut servers = start().await;
    let (writer, reader) =
        (NatsBus::open(on_servers(&servers, 1)).await, NatsBus::open(on_servers(&servers, 1)).await);
    let (writer, reader) = (writer.unwrap(), reader.unwrap());
    let mut commits = reader.read(1).await.unwrap();
    let mut commands = reader.read_commands(1).await.unwrap();
    let mut done = 0;
    for (loss, stream) in [
        (Loss::Killed, "EVENTS"),
        (Loss::Frozen, "COMMANDS"),
        (Loss::Wiped, "EVENTS"),
        (Loss::Killed, "cell"),
    ] {
        all_current(&writer).await;
        let lost = until("a leader", async || leader_of(&writer.servers().await, stream)).await;
        let appending = tokio::spawn({
            let writer = Arc::clone(&writer);
            async move { append(&writer, done + 1, done + STEP).await }
        });
        let publishing = tokio::spawn({
            let writer = Arc::clone(&writer);
            async move {
                for number in done + 1..=done + STEP {
                    writer.publish_command(command(&format!("c-{number}"), "x")).await.unwrap();
                }
            }
        });
        // It goes in the midst of that.
        within(take(&mut commands, 50)).await;
        let away = Instant::now();
        match loss {
            Loss::Killed | Loss::Wiped => servers[lost].kill9().unwrap(),
            Loss::Frozen => servers[lost].freeze().unwrap(),
        }
        within(async { tokio::try_join!(appending, publishing) }).await.unwrap();
        eprintln!("{loss:?} leader of {stream}: {STEP} commits and commands done {:?} later", away.elapsed());
        let mut ids: Vec<_> = within(take(&mut commands, STEP as usize - 50))
            .await
            .into_iter()
            .map(|c| c.id.unwrap())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len() as u64, STEP - 50, "each command is there once");
        let read: Vec<_> =
            within(take(&mut commits, STEP as usize)).await.into_iter().map(|s| s.commit).collect();
        assert_eq!(read, (done + 1..=done + STEP).map(commit).collect::<Vec<_>>());
        done += STEP;
        assert_eq!(within(writer.last_position()).await.unwrap(), done);
        match loss {
            Loss::Frozen => servers[lost].thaw().unwrap(),
            Loss::Killed => servers[lost].restart().await.unwrap(),
            Loss::Wiped => {
                servers[lost].wipe().unwrap();
                servers[lost].restart().await.unwrap();
            }
        }
    }
    all_current(&writer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_written_and_all_that_is_there_can_be_read() {
    let mut servers = start().await;
    let bus = NatsBus::open(on_servers(&servers, 1)).await.unwrap();
    append(&bus, 1, 20).await;
    bus.publish_command(command("c-1", "x")).await.unwrap();
    all_current(&bus).await;
    servers[0].kill9().unwrap();
    servers[1].kill9().unwrap();
    within(bus.link().wait_for(|link| link.up)).await.unwrap();
    let error = within(bus.append(&commit(21), 20)).await.unwrap_err();
    assert!(matches!(error, AppendError::Log(LogError::Unavailable(_))), "{error}");
    let waiting = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move { bus.publish_command(command("c-2", "x")).await }
    });
    let trouble = within(bus.trouble().wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(trouble.contains("majority"), "{trouble}");
    for position in 1..=20 {
        assert_eq!(within(bus.get(position)).await.unwrap().unwrap().commit, commit(position));
    }
    let error = within(waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, LogError::Unavailable(_)), "{error}");
    servers[0].restart().await.unwrap();
    within(append(&bus, 21, 40)).await;
    within(bus.publish_command(command("c-3", "x"))).await.unwrap();
    within(bus.trouble().wait_for(Option::is_none)).await.unwrap();
    servers[1].restart().await.unwrap();
    all_current(&bus).await;
    assert_eq!(within(bus.last_position()).await.unwrap(), 40);
}

/// A bit is flipped in the file of one server that has ended well: it notices when it reads that, and says nothing.
#[tokio::test]
async fn a_damaged_copy_is_named_and_another_is_read() {
    const COUNT: u64 = 10;
    let mut servers = start().await;
    let bus = NatsBus::open(on_servers(&servers, 1)).await.unwrap();
    append(&bus, 1, COUNT).await;
    all_current(&bus).await;
    for damaged in [0, 1] {
        all_current(&bus).await;
        servers[damaged].stop().await.unwrap();
        let file = servers[damaged].dir().join("data/jetstream/$G/streams/c1-EVENTS/msgs/1.blk");
        let mut bytes = std::fs::read(&file).unwrap();
        // In the midst of the fifth.
        let at = bytes.windows(6).enumerate().filter(|(_, window)| window == b"c1.evt").nth(4).unwrap().0;
        bytes[at + 40] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        servers[damaged].restart().await.unwrap();
    }
    all_current(&bus).await;
    // Whichever copy each of these happens to read.
    for _ in 0..10 {
        let mut commits = bus.read(1).await.unwrap();
        let read: Vec<_> =
            within(take(&mut commits, COUNT as usize)).await.into_iter().map(|s| s.commit).collect();
        assert_eq!(read, (1..=COUNT).map(commit).collect::<Vec<_>>());
    }
}
