//! Unix sockets.

use tokio::net::UnixListener;

use super::*;

#[tokio::test]
async fn the_kernel_says_who_calls() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a socket");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let stopped = async {
            let _ended = stopped.await;
        };
        serve_local(listener, routes(), 64, stopped).await
    });
    let channel = connect_local(&path).await.expect("a connection");
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let pid = std::process::id();
    let caller = LocalCaller::stand_in(uid, gid, i32::try_from(pid).expect("a process id"));
    assert_eq!((caller.uid(), caller.gid()), (uid, gid));
    assert_eq!(who(channel.clone()).await, format!("{caller:?}"));

    stop.send(()).expect("serving");
    serving.await.expect("no panic").expect("a clean end");
    assert_eq!(call(channel, "").await.code(), Code::Unavailable);
    assert!(connect_local(&path).await.is_err());
    assert!(connect_local(&folder.path().join("none")).await.is_err());
}
