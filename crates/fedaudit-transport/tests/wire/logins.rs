//! One login for all readers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fedaudit_core::{Error, ErrorKind, Result};
use fedaudit_transport::{Attempt, Login};
use futures::future::join_all;

use crate::server::soon;

/// A product whose logins are numbers, of which one is known.
#[derive(Default)]
struct Product {
    made: AtomicUsize,
    known: AtomicUsize,
}

impl Product {
    async fn log_in(&self) -> Result<usize> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        self.known.store(number, Ordering::Relaxed);
        Ok(number)
    }

    async fn ask(&self, login: usize) -> Result<Attempt<usize>> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(if login == self.known.load(Ordering::Relaxed) {
            Attempt::Done(login)
        } else {
            Attempt::Lost(Error::new(ErrorKind::Unauthenticated, "who are you"))
        })
    }
}

#[tokio::test]
async fn many_readers_make_one_login_and_renew_it_once() {
    let (product, login, cx) = (Product::default(), Login::<usize>::default(), soon());
    let product = &product;
    let ask = || login.with(&cx, || product.log_in(), |number| async move { product.ask(*number).await });
    let answers = join_all((0..20).map(|_| ask())).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == 1));
    product.known.store(99, Ordering::Relaxed);
    let answers = join_all((0..20).map(|_| ask())).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == 2));
    assert_eq!((product.made.load(Ordering::Relaxed), cx.meter.read().logins), (2, 2));
}

#[tokio::test]
async fn a_login_that_is_lost_at_once_is_an_error_and_no_endless_loop() {
    let (product, login, cx) = (Product::default(), Login::<usize>::default(), soon());
    let lost = || async { Ok(Attempt::<()>::Lost(Error::new(ErrorKind::Unauthenticated, "who are you"))) };
    let error = login.with(&cx, || product.log_in(), |_| lost()).await.unwrap_err();
    assert_eq!((error.kind(), cx.meter.read().logins), (ErrorKind::Unauthenticated, 2));
}

#[tokio::test]
async fn a_refusal_is_remembered_until_close_and_a_failure_is_not() {
    let (login, cx) = (Login::<usize>::default(), soon());
    let refused = async |kind| login.get(&cx, async { Err(Error::new(kind, "no")) }).await.unwrap_err().kind();
    for _ in 0..3 {
        assert_eq!(refused(ErrorKind::Unavailable).await, ErrorKind::Unavailable);
    }
    assert_eq!(cx.meter.read().logins, 3);
    for _ in 0..3 {
        assert_eq!(refused(ErrorKind::Unauthenticated).await, ErrorKind::Unauthenticated);
    }
    assert_eq!(cx.meter.read().logins, 4, "a refused password was tried again");
    assert!(login.take().await.is_none());
    assert_eq!(*login.get(&cx, async { Ok(7) }).await.unwrap(), 7);
    assert_eq!(login.take().await.as_deref(), Some(&7));
}

#[tokio::test]
async fn a_useless_login_is_given_up_once() {
    let (product, login, cx) = (Product::default(), Login::<usize>::default(), soon());
    let (product, login) = (&product, &login);
    let fresh = |oldest: usize| async move {
        login.forget_if(|number| *number < oldest).await;
        login.with(&soon(), || product.log_in(), |number| async move { product.ask(*number).await }).await.unwrap()
    };
    assert_eq!((fresh(1).await, fresh(1).await), (1, 1));
    assert_eq!(join_all((0..20).map(|_| fresh(2))).await, [2; 20]);
    assert_eq!(product.made.load(Ordering::Relaxed), 2);
    // What is not there cannot be useless, and a refusal stays one.
    let refused = Login::<usize>::default();
    let refuse = || refused.get(&cx, async { Err(Error::new(ErrorKind::Denied, "no")) });
    assert!(refuse().await.is_err());
    refused.forget_if(|_| true).await;
    assert!(refuse().await.is_err());
    assert_eq!(cx.meter.read().logins, 1);
}

#[tokio::test]
async fn a_reader_that_goes_away_while_logging_in_leaves_the_way_free() {
    let (product, login, cx) = (Product::default(), Login::<usize>::default(), soon());
    for _ in 0..3 {
        let _ = tokio::time::timeout(Duration::from_millis(1), login.get(&cx, product.log_in())).await;
    }
    assert_eq!(*login.get(&cx, product.log_in()).await.unwrap(), 1);
    let debug = format!("{login:?}");
    assert_eq!(debug, "Login { .. }");
}

#[tokio::test]
async fn a_product_that_ends_every_login_is_left_alone_for_a_while() {
    let (login, cx) = (Login::<usize>::bearing(2, Duration::from_millis(500)), soon());
    for _ in 0..2 {
        let held = login.get(&cx, async { Ok(1) }).await.unwrap();
        login.forget(&held).await;
        // Another reader of the same login lost nothing more.
        login.forget(&held).await;
    }
    let error = login.get(&cx, async { Ok(1) }).await.unwrap_err();
    assert_eq!((error.kind(), cx.meter.read().logins), (ErrorKind::Unavailable, 2));
    assert!(error.to_string().contains("ended 2 logins"), "{error}");
    tokio::time::sleep(Duration::from_millis(510)).await;
    assert_eq!(*login.get(&cx, async { Ok(7) }).await.unwrap(), 7);
}
