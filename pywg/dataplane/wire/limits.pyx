"""The paper's numbers (limits.pxd) and the messages' (wireguard.pxd) that Python reads, and the labels."""
from pywg.dataplane.wire cimport wireguard

globals().update(REKEY_AFTER_MESSAGES=REKEY_AFTER_MESSAGES, REJECT_AFTER_MESSAGES=REJECT_AFTER_MESSAGES)

LABEL_MAC1 = b"mac1----"
LABEL_COOKIE = b"cookie--"

MESSAGE_INITIATION = wireguard.MESSAGE_INITIATION
MESSAGE_RESPONSE = wireguard.MESSAGE_RESPONSE
MESSAGE_COOKIE_REPLY = wireguard.MESSAGE_COOKIE_REPLY
MESSAGE_TRANSPORT = wireguard.MESSAGE_TRANSPORT
INITIATION_LEN = wireguard.INITIATION_LEN
RESPONSE_LEN = wireguard.RESPONSE_LEN
COOKIE_REPLY_LEN = wireguard.COOKIE_REPLY_LEN
WG_HEADER_LEN = wireguard.WG_HEADER_LEN
KEY_LEN = wireguard.KEY_LEN
MAC_LEN = wireguard.MAC_LEN
