//! Acts that come to their end also when whoever asked for them is gone.

use std::future::Future;

use crate::manager::problem;
use skep_client::transport::Problem;

/// Does the work in a task of its own, so that a caller that hangs up doesn't cut it short.
/// `what` names it where it ends in a panic.
///
/// # Errors
/// Those of the work.
pub(in crate::manager) async fn to_the_end<T: Send + 'static>(
    what: &str,
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work).await.unwrap_or_else(|_| Err(cut_short(what)))
}

/// Does work that keeps a thread busy, on a thread that nobody else waits for.
///
/// # Errors
/// Those of the work.
pub(in crate::manager) async fn on_a_thread<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(cut_short(what)))
}

fn cut_short(what: &str) -> Problem {
    problem::bug(format!("{what} ended unexpectedly"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_core::base::Exit;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn work_goes_on_when_its_caller_is_gone() {
        let ((go, waits), (told, done)) = (oneshot::channel(), oneshot::channel());
        let work = async move {
            waits.await.expect("a word");
            told.send(()).expect("somebody waits");
            Ok(())
        };
        let caller = tokio::spawn(to_the_end("work", work));
        // Polled once, the work has begun.
        tokio::task::yield_now().await;
        caller.abort();
        assert!(caller.await.is_err_and(|ended| ended.is_cancelled()));
        go.send(()).expect("the work waits");
        done.await.expect("the work came to its end");
    }

    #[tokio::test]
    async fn a_panic_is_a_bug_that_names_the_act() {
        let failed = to_the_end::<()>("lock", async { panic!("as a test wants it") }).await;
        let problem = failed.expect_err("a bug");
        assert_eq!((problem.exit, problem.text.as_str()), (Exit::Bug, "lock ended unexpectedly"));
        let failed = on_a_thread::<()>("wrapping", || panic!("as a test wants it")).await;
        assert_eq!(failed.expect_err("a bug").exit, Exit::Bug);
    }
}
