//! What every bus must do, whether it is memory, memory at the end of a simulated line in fine weather, a NATS server, or
//! three with three copies: one suite, run on all, each test on a bus of its own.

#[path = "log_contract/fit.rs"]
mod fit;
#[path = "log_contract/fixtures.rs"]
pub(crate) mod fixtures;
#[path = "log_contract/outage.rs"]
mod outage;
#[path = "log_contract/snapshots.rs"]
mod snapshots;
#[path = "log_contract/suite.rs"]
mod suite;
#[path = "log_contract/three.rs"]
mod three;

/// Each function of the suite, as a test on memory and as one on NATS; and all of them in one test on three servers, which
/// take longer to start than most of them to run.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod on_memory {
            $(#[tokio::test]
            async fn $name() {
                super::fixtures::within(super::suite::$name(super::fixtures::memory())).await;
            })+
        }
        mod on_a_simulated_line {
            $(#[tokio::test]
            async fn $name() {
                super::fixtures::within(super::suite::$name(super::fixtures::lines())).await;
            })+
        }
        mod on_nats {
            $(#[tokio::test]
            async fn $name() {
                let server = muster_tests::nats_server::NatsServer::start().await.unwrap();
                let buses = super::fixtures::nats(&server).await;
                super::fixtures::within(super::suite::$name(buses)).await;
            })+
        }
        mod on_three_servers {
            #[tokio::test]
            async fn the_whole_contract() {
                let servers = super::three::start().await;
                let mut cell = 0;
                $(
                    cell += 1;
                    // What the harness shows of a test that fails.
                    eprintln!("{}", stringify!($name));
                    let buses = super::three::buses(&servers, cell).await;
                    assert_eq!(buses.one.fitness().replicas, 3);
                    super::fixtures::within(super::suite::$name(buses)).await;
                )+
            }
        }
    };
}

contract!(
    commits_stand_where_they_were_appended,
    an_append_behind_a_wrong_position_is_a_conflict,
    a_lost_fence_is_noticed,
    of_two_who_append_at_once_one_is_refused,
    reading_begins_anywhere_and_goes_on_live,
    every_reader_gets_everything,
    a_command_is_stored_as_it_was_sent,
    a_repeated_command_is_stored_once,
    many_commands_at_once_are_all_stored,
    orders_come_until_they_are_done,
    heartbeats_begin_with_the_newest_of_each_worker,
    output_is_read_by_task_and_stream,
    output_without_follow_ends,
    output_is_followed,
    outcomes_arrive_in_the_inbox,
    outcomes_go_to_no_forbidden_subject,
    the_manager_is_asked,
    the_lead_is_handed_over,
    the_lead_of_a_dead_leader_runs_out,
    a_restarted_leader_leads_at_once,
    standbys_are_heard,
    what_is_too_large_is_refused_before_it_is_sent,
    snapshots_are_kept_newest_first_and_the_oldest_make_room,
    a_snapshot_of_many_chunks_comes_back_whole,
);
