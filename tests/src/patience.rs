//! Waiting for something to become true, but not for ever.

use anyhow::Result;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(50);

/// Asks again and again until there is no complaint. Fails with the last complaint when `most` has passed.
pub async fn until_no_complaint<F, Fut>(most: Duration, mut ask: F) -> Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Vec<String>>>,
{
    let deadline = Instant::now() + most;
    loop {
        let complaints = ask().await?;
        if complaints.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let shown: Vec<&str> = complaints.iter().take(20).map(String::as_str).collect();
            anyhow::bail!(
                "after {most:?} there are still {} complaints:\n  {}",
                complaints.len(),
                shown.join("\n  ")
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_and_gives_up() {
        let mut left = 3;
        let good = until_no_complaint(Duration::from_secs(10), || {
            left -= 1;
            let complaints = if left > 0 { vec!["not yet".to_owned()] } else { Vec::new() };
            async move { Ok(complaints) }
        });
        good.await.expect("it becomes true");
        let bad =
            until_no_complaint(Duration::ZERO, || async { Ok(vec!["never".to_owned()]) }).await;
        assert!(bad.expect_err("it never does").to_string().contains("never"));
    }
}
