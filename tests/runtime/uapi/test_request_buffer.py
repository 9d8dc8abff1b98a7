"""The buffer of a connection's requests: it grows, keeps what comes next, and wipes what was used."""

from pywg.runtime.uapi.request_buffer import RequestBuffer


def test_request_buffer_wipes_what_was_used_and_what_it_outgrew() -> None:
    requests = RequestBuffer()
    first = requests.data
    text = b"set=1\nprivate_key=" + b"ab" * 2048 + b"\n\n"
    for start in range(0, len(text), 1000):
        piece = text[start : start + 1000]
        while piece:
            room = requests.room()
            taken = min(len(room), len(piece))
            room[:taken] = piece[:taken]
            room.release()
            requests.used += taken
            piece = piece[taken:]
    assert requests.data is not first
    assert not any(first)
    grown = requests.data
    assert requests.operation_len() == len(text)
    requests.discard(len(text))
    assert not any(grown)
    assert requests.used == 0


def test_request_buffer_keeps_the_next_operation() -> None:
    requests = RequestBuffer()
    text = b"set=1\n\nget=1\n\nset"
    requests.room()[: len(text)] = text
    requests.used = len(text)
    assert requests.operation_len() == 7
    requests.discard(7)
    assert requests.operation_len() == 7
    assert bytes(requests.data[:7]) == b"get=1\n\n"
    requests.discard(7)
    assert requests.operation_len() is None
    assert bytes(requests.data[: requests.used]) == b"set"
    assert not any(requests.data[requests.used :])
