//! Group commit at a hop, without a clock: what arrives while one group is under way forms the next.

use tokio::sync::mpsc;

/// Hands what arrives to `send`, in order and in groups of at most `max`: at once when nothing is in flight, else as
/// soon as the group in flight is back. Ends when the channel is closed and empty.
///
/// At once means: when those have had their turn who are ready to hand something in. The answer to a group wakes many
/// callers together, and the first of them to come again would otherwise go alone.
///
/// The channel's capacity bounds what gathers; whoever finds it full waits.
pub async fn gather<T, F, Fut>(mut receiver: mpsc::Receiver<T>, max: usize, mut send: F)
where
    F: FnMut(Vec<T>) -> Fut,
    Fut: Future<Output = ()>,
{
    loop {
        let mut group = Vec::new();
        if receiver.recv_many(&mut group, max.max(1)).await == 0 {
            return;
        }
        tokio::task::yield_now().await;
        while group.len() < max
            && let Ok(item) = receiver.try_recv()
        {
            group.push(item);
        }
        send(group).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Semaphore, mpsc};

    use super::gather;

    /// Runs `gather` over 0..=5 with a `send` that waits for a permit, and gives the groups it was handed.
    async fn groups(max: usize) -> Vec<Vec<u32>> {
        let (sender, receiver) = mpsc::channel(16);
        let (sent, mut groups) = mpsc::channel(16);
        let returns = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&returns);
        let task = tokio::spawn(gather(receiver, max, move |group: Vec<u32>| {
            let (sent, gate) = (sent.clone(), Arc::clone(&gate));
            async move {
                sent.send(group).await.unwrap();
                gate.acquire().await.unwrap().forget();
            }
        }));
        sender.send(0).await.unwrap();
        let mut all = vec![groups.recv().await.unwrap()];
        for n in 1..=5 {
            sender.send(n).await.unwrap();
        }
        drop(sender);
        returns.add_permits(16);
        while let Some(group) = groups.recv().await {
            all.push(group);
        }
        task.await.unwrap();
        all
    }

    #[tokio::test]
    async fn the_first_goes_at_once_and_the_rest_gathers_behind_it() {
        assert_eq!(groups(100).await, [vec![0], vec![1, 2, 3, 4, 5]]);
    }

    #[tokio::test]
    async fn a_group_has_a_largest_size() {
        assert_eq!(groups(2).await, [vec![0], vec![1, 2], vec![3, 4], vec![5]]);
    }
}
