//! Devices and ports: counted, never given twice, told.

use std::collections::BTreeMap;

use muster_events::command::Command;
use muster_events::event::Filter;
use muster_events::order::Order;
use muster_events::spec::{PortAsk, PortRange, TaskDefinition};
use muster_events::worker::{Register, WorkerInfo};

use super::{assigned, place, reason, waiting};
use crate::orders;
use crate::testing::{
    World, definition, exited, given, id, incarnation, register, registration, reports, submit_all,
};

fn worker(name: &str, change: impl Fn(&mut WorkerInfo)) -> Command {
    let mut c = registration(name);
    change(&mut c.info);
    Command::WorkerRegister(c)
}

fn with_gpus(name: &str, count: u64) -> Command {
    worker(name, |info| info.devices = [("gpu".to_owned(), count)].into())
}

fn with_ports(name: &str, host: &str, from: u16, to: u16) -> Command {
    worker(name, |info| (info.ports, info.hostname) = (Some(PortRange { from, to }), host.into()))
}

fn gpus(name: &str, count: u64) -> Command {
    submit_all([TaskDefinition { devices: [("gpu".to_owned(), count)].into(), ..definition(name) }])
}

fn ports(name: &str, asks: &[(&str, Option<u16>)]) -> Command {
    let ask = |(name, port): &(&str, Option<u16>)| PortAsk { name: (*name).into(), port: *port, to: None };
    submit_all([TaskDefinition { cpu: 0.1, ports: asks.iter().map(ask).collect(), ..definition(name) }])
}

fn workers(world: &World) -> Vec<String> {
    assigned(&place(&world.state, 1000)).into_iter().map(|a| a.worker.to_string()).collect()
}

fn allotted(world: &World, name: &str) -> BTreeMap<String, u16> {
    world.task(name).attempt.as_ref().unwrap().ports.clone()
}

#[test]
fn devices_are_counted_and_the_fullest_worker_gets_the_task() {
    let world = given([with_gpus("w1", 4), with_gpus("w2", 2), register("w3")]);
    let world = world.and(gpus("a", 1)).and(gpus("b", 1)).and(gpus("c", 3));
    assert_eq!(workers(&world), ["w2", "w2", "w1"]);
    let world = world.placed().and(gpus("d", 2));
    assert_eq!(reason(&world), "waits for free devices: needs 1 cpu core, 1 GiB of memory, 2 gpu");
    let events = place(&world.state, 10);
    assert_eq!(waiting(&events)[0].why.filtered, [(Filter::TooSmall, 1), (Filter::Devices, 2)].into());
    let a = world.attempt("a");
    let b = world.attempt("b");
    assert_eq!(workers(&world.and(reports("w2", [(a, exited(0)), (b, exited(0))]))), ["w2"]);
}

#[test]
fn a_device_that_no_worker_has_enough_of_is_named() {
    let world = given([with_gpus("w1", 2), gpus("a", 3)]);
    assert_eq!(reason(&world), "no worker can ever hold it: needs 3 gpu, the largest has 2");
}

#[test]
fn ports_are_allotted_without_clash_on_a_host_whatever_the_worker() {
    let world = given([with_ports("w1", "h", 100, 101), with_ports("w2", "h", 100, 103)]);
    let names = ["a", "b", "c"];
    let world = names.iter().fold(world, |w, name| w.and(ports(name, &[("http", None)]))).placed();
    let mut all: Vec<_> = names.iter().map(|name| allotted(&world, name)["http"]).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all.iter().all(|port| (100..=103).contains(port)));
}

#[test]
fn a_fixed_port_is_had_once_a_host_and_free_again_afterwards() {
    let world = given([with_ports("w1", "h1", 100, 101), worker("w2", |info| info.hostname = "h2".into())]);
    let world = ["a", "b", "c"].iter().fold(world, |w, name| w.and(ports(name, &[("web", Some(80))])));
    assert_eq!(workers(&world), ["w1", "w2"]);
    assert_eq!(reason(&world), "waits for free ports: needs 0.1 cpu cores, 1 GiB of memory, port 80");
    let world = world.placed();
    assert_eq!(allotted(&world, "a"), [("web".to_owned(), 80)].into());
    let a = world.attempt("a");
    assert_eq!(workers(&world.and(reports("w1", [(a, exited(0))]))), ["w1"]);
}

#[test]
fn a_worker_with_no_ports_to_allot_never_gets_the_task() {
    let world = given([register("w1"), ports("a", &[("x", None), ("y", None)])]);
    assert_eq!(reason(&world), "no worker can ever hold it: needs 2 ports, and none has such ports to allot");
}

#[test]
fn the_worker_is_told_the_ports() {
    let world = given([with_ports("w1", "h", 100, 100), ports("a", &[("admin", Some(7)), ("http", None)])]);
    let events = place(&world.state, 10);
    let first = world.state.next_seq;
    let world = world.happened(&events);
    let orders = orders::of(&world.state, (first..).zip(&events));
    let Order::Start { ports, .. } = &orders[0].orders[0] else { panic!("{orders:?}") };
    assert_eq!(*ports, [("admin".to_owned(), 7), ("http".to_owned(), 100)].into());
}

#[test]
fn a_worker_that_comes_back_on_another_host_takes_its_ports_along() {
    let world = given([with_ports("w1", "h1", 100, 100), ports("a", &[("x", Some(100))])]).placed();
    let mut c: Register = registration("w1");
    (c.info.hostname, c.holding) = ("h2".into(), vec![world.attempt("a")]);
    c.incarnation = incarnation("second life");
    let world = world.and(Command::WorkerRegister(c));
    assert!(world.state.ports.is_taken("h2", 100) && !world.state.ports.is_taken("h1", 100));
    assert_eq!(world.task("a").attempt_ref(id("a")), Some(world.attempt("a")));
}
