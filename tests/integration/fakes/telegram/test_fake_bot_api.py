"""The fake Bot API over HTTP: updates, pollers, doors, and that nothing of it is left."""

import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from patience import Deadline, patient
from streamworkers_fakes.telegram import (
    DEFAULT_TOKEN,
    FakeBotApi,
    RunningFakeBotApi,
    fake_bot_api_process,
    running_fake_bot_api,
)

LONG_POLL = {"timeout": 50}


@pytest.fixture
def server() -> Iterator[RunningFakeBotApi]:
    with running_fake_bot_api(FakeBotApi(limits=None)) as running:
        yield running


def call(server: RunningFakeBotApi, method: str, **parameters: object) -> httpx.Response:
    return httpx.post(f"{server.url}/bot{DEFAULT_TOKEN}/{method}", json=parameters, timeout=patient(30))


def test_updates_are_repeated_until_a_higher_offset_confirms_them(server: RunningFakeBotApi) -> None:
    first = server.fake.say("/start", user=7)
    second = server.fake.press("alert:show:1", user=7, chat=-5)
    for _ in range(2):
        found = call(server, "getUpdates").json()["result"]
        assert [update["update_id"] for update in found] == [first, second]
    assert found[0]["message"]["chat"] == {"id": 7, "type": "private"}
    assert found[1]["callback_query"]["data"] == "alert:show:1"
    assert [u["update_id"] for u in call(server, "getUpdates", offset=second, limit=5).json()["result"]] == [second]
    assert call(server, "getUpdates", offset=second + 1).json()["result"] == []
    assert call(server, "getUpdates").json()["result"] == []
    server.fake.say("a", user=7)
    last = server.fake.say("b", user=7)
    assert [u["update_id"] for u in call(server, "getUpdates", offset=-1).json()["result"]] == [last]


def test_a_second_poller_ends_the_first_with_409(server: RunningFakeBotApi) -> None:
    answers: list[httpx.Response] = []
    first = threading.Thread(target=lambda: answers.append(call(server, "getUpdates", **LONG_POLL)))
    first.start()
    deadline = Deadline(30)
    while not answers and not deadline.has_passed():
        call(server, "getUpdates", timeout=0)
    first.join(patient(30))
    assert answers[0].status_code == 409
    assert "terminated by other getUpdates" in answers[0].json()["description"]
    assert [poll.status for poll in server.calls if poll.method == "getUpdates"].count(409) == 1


def test_a_long_poll_ends_with_an_update(server: RunningFakeBotApi) -> None:
    answers: list[httpx.Response] = []
    poll = threading.Thread(target=lambda: answers.append(call(server, "getUpdates", **LONG_POLL)))
    poll.start()
    server.fake.say("now", user=1)
    poll.join(patient(30))
    assert [update["message"]["text"] for update in answers[0].json()["result"]] == ["now"]


def test_other_methods_and_bad_calls_answer_as_the_api_does(server: RunningFakeBotApi) -> None:
    assert call(server, "getMe").json()["result"]["id"] == 123456
    assert call(server, "setMyCommands", commands=[{"command": "help"}]).json() == {"ok": True, "result": True}
    assert server.fake.commands == [{"command": "help"}]
    edited = call(server, "editMessageText", chat_id=1, message_id=9, text="x").json()["result"]
    assert (edited["message_id"], edited["text"]) == (9, "x")
    wrong = {
        "Unauthorized": httpx.post(f"{server.url}/bot1:x/getMe"),
        "Not Found": call(server, "noSuchMethod"),
        "Bad Request: chat_id is empty": call(server, "sendMessage", text="x"),
        "Bad Request: message text is empty": call(server, "sendMessage", chat_id=1, text=" "),
        "Bad Request: text must be a string": call(server, "sendMessage", chat_id=1, text=5),
        "Bad Request: message is too long": call(server, "sendMessage", chat_id=1, text="\U0001f600" * 2049),
        "Bad Request: BUTTON_DATA_INVALID": call(
            server,
            "sendMessage",
            chat_id=1,
            text="x",
            reply_markup={"inline_keyboard": [[{"text": "a", "callback_data": "é" * 33}]]},
        ),
        "Bad Request: inline keyboard button text is empty": call(
            server,
            "sendMessage",
            chat_id=1,
            text="x",
            reply_markup={"inline_keyboard": [[{"text": "", "callback_data": "a"}]]},
        ),
    }
    assert {name: answer.json()["description"] for name, answer in wrong.items()} == {name: name for name in wrong}


def test_limits_answer_429_with_the_seconds_to_wait() -> None:
    with running_fake_bot_api() as server:
        answers = [call(server, "sendMessage", chat_id=chat, text="x") for chat in (1, 1, 2)]
        assert [answer.status_code for answer in answers] == [200, 429, 200]
        assert answers[1].json()["parameters"] == {"retry_after": 1}
        assert [sent.chat for sent in server.sent] == ["1", "2"]


def test_the_command_has_doors_for_plans_and_messages() -> None:
    with fake_bot_api_process("--token", "9:abc", "--plan", "blocked,chat=5") as url:
        base = f"{url}/bot9:abc"
        assert httpx.post(f"{base}/sendMessage", json={"chat_id": 5, "text": "x"}).status_code == 403
        said = {"say": [{"text": "/help", "user": 5}], "updates": [{"my_chat_member": {"x": 1}}], "clear": True}
        assert httpx.post(f"{url}/__control__", json=said).status_code == 200
        found = httpx.post(f"{base}/getUpdates", json={}).json()["result"]
        assert [sorted(update) for update in found] == [["message", "update_id"], ["my_chat_member", "update_id"]]
        assert httpx.post(f"{base}/sendMessage", json={"chat_id": 5, "text": "x"}).status_code == 200
        bad = httpx.post(f"{url}/__control__", json={"plans": ["nope"]})
        assert (bad.status_code, bad.text[:26]) == (400, "no plan is named 'nope'; k")
        log = json.loads(httpx.get(f"{url}/__log__").text)["calls"]
        assert [entry["status"] for entry in log] == [403, 200, 200]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/__log__")


def test_a_stopped_fake_leaves_no_thread_even_in_a_long_poll() -> None:
    before = set(threading.enumerate())
    with running_fake_bot_api() as server:
        url = server.url
        poll = threading.Thread(target=lambda: call(server, "getUpdates", **LONG_POLL))
        poll.start()
        deadline = Deadline(30)
        while server.fake.polls == 0 and not deadline.has_passed():
            time.sleep(0.01)
    poll.join(patient(30))
    assert set(threading.enumerate()) <= before
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
