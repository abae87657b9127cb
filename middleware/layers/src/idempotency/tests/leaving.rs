//! Callers, processes and servers that leave while a request runs.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_comes_back_for_the_whole_answer() {
    let stage = Stage::new();
    let (write, body) = written();
    let service = stage.service(once(body));
    let mut first = service.ask("key", "{}").await.unwrap().into_body();
    write.send(Ok("one ")).unwrap();
    first.frame().await.unwrap().unwrap();
    drop(first);
    tokio::time::sleep(Duration::from_secs(59)).await;
    write.send(Ok("two")).unwrap();
    drop(write);
    stage.ended(1).await;
    assert_eq!(text(service.ask("key", "{}").await).await, "one two");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_before_the_answer_begins_finds_it_as_well() {
    let stage = Stage::new();
    let service = stage.service(|_| async {
        tokio::time::sleep(Duration::from_secs(59)).await;
        Ok(Response::new(full("late")))
    });
    let left = tokio::time::timeout(Duration::from_secs(1), service.ask("key", "{}")).await;
    assert!(left.is_err());
    stage.ended(1).await;
    assert_eq!(text(service.ask("key", "{}").await).await, "late");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_read_on_for_ever() {
    let stage = Stage::new();
    let (write, body) = written();
    let service = stage.service(once(body));
    drop(service.ask("key", "{}").await.unwrap());
    assert_eq!(stage.ended(1).await, [Kept::Interrupted]);
    assert!(write.is_closed(), "what runs below is cancelled");
    assert_eq!(service.refused("key").await, (409, "idempotency_interrupted".to_owned()));

    let hangs = |costs: bool| {
        move |request: Request<Bytes>| {
            if costs {
                sent(&request, None);
            }
            std::future::pending()
        }
    };
    for (key, costs, keys) in [("queued", false, 1), ("sent", true, 2)] {
        let service = stage.service(hangs(costs));
        let left = tokio::time::timeout(Duration::from_secs(1), service.ask(key, "{}")).await;
        assert!(left.is_err());
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!((stage.keys(), stage.ended(keys).await.len()), (keys, keys), "{key}");
    }
}

/// Who is there, however slow, is waited for.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_no_reader_who_left() {
    let stage = Stage::new();
    let (write, body) = written();
    let service = stage.service(once(body));
    let mut first = service.ask("key", "{}").await.unwrap().into_body();
    for _ in 0..5 {
        write.send(Ok("piece ")).unwrap();
        tokio::time::sleep(Duration::from_mins(5)).await;
    }
    drop(write);
    for _ in 0..5 {
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "piece ");
    }
    assert!(first.frame().await.is_none());
}

#[tokio::test]
async fn a_request_that_died_with_its_process_is_interrupted() {
    let stage = Stage::new();
    let service = stage.service(|_| std::future::pending());
    let elsewhere = stage.layer.claim(&service.request("key", "{}")).unwrap();
    assert_eq!(stage.store.begin(&elsewhere).await.unwrap(), Begun::New);
    assert_eq!(service.refused("key").await.1, "idempotency_key_in_use");
    stage.clock.advance(Duration::from_mins(2));
    assert_eq!(service.refused("key").await, (409, "idempotency_interrupted".to_owned()));
    assert_eq!(stage.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_runs_for_long_is_not_taken_for_interrupted() {
    let stage = Stage::new();
    let service = stage.service(|_| std::future::pending());
    let mut first = Box::pin(service.ask("key", "{}"));
    for _ in 0..20 {
        assert!(tokio::time::timeout(Duration::from_mins(1), &mut first).await.is_err());
        stage.clock.advance(Duration::from_mins(1));
        assert_eq!(service.refused("key").await.1, "idempotency_key_in_use");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_runs_and_interrupts_what_does_not_end() {
    let stage = Stage::new();
    let service = stage.service(|request| async move {
        sent(&request, None);
        let seconds = if request.body() == "short" { 5 } else { 500 };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(Response::new(full("well")))
    });
    for body in ["short", "long"] {
        assert!(tokio::time::timeout(Duration::from_secs(1), service.ask(body, body)).await.is_err());
    }
    stage.layer.drain(Duration::from_secs(10)).await;
    assert_eq!(text(service.ask("short", "short").await).await, "well");
    assert_eq!(service.ask("long", "long").await.unwrap_err().code(), "idempotency_interrupted");
}

/// Also for one that has all of it but the last piece, and does not take that.
#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_no_reader() {
    let stage = Stage::new();
    let service = stage.service(|_| {
        let pieces = ["one ", "two ", "three "].map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        std::future::ready(Ok(Response::new(StreamBody::new(stream::iter(pieces)).boxed_unsync())))
    });
    let first = service.ask("key", "{}").await.unwrap();
    stage.layer.drain(Duration::from_secs(10)).await;
    first.into_body().collect().await.unwrap_err();
    assert_eq!(stage.ended(1).await.len(), 1);
}
