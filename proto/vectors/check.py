#!/usr/bin/env python3
"""Checks the vectors beside this file with nothing but Python's standard library.

An implementation of the protocol's arithmetic that shares no line with the peer: what both agree on is what the
documents say. `python3 check.py` prints how many values were checked, and ends with 1 at the first that differs.
"""

import hashlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
CHUNK = 16384
checked = 0


def load(name):
    return json.loads((HERE / f"{name}.json").read_text())


def same(found, wanted, what):
    global checked
    checked += 1
    if found != wanted:
        sys.exit(f"{what}: {found!r}, and {wanted!r} is wanted")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def repeated(plain):
    pattern, length = bytes.fromhex(plain["repeat"]), plain["bytes"]
    return (pattern * (length // len(pattern) + 1))[:length]


# RFC 9162 section 2.1

def leaves(body):
    return [sha256(b"\0", body[at:at + CHUNK]) for at in range(0, max(len(body), 1), CHUNK)]


def root(hashes):
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\1", root(hashes[:split]), root(hashes[split:]))


def root_by_proof(leaf, index, count, proof):
    """The root that a proof leads to (section 2.1.3.2)."""
    at, last, value = index, count - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if at & 1 or at == last:
            value = sha256(b"\1", sibling, value)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            value = sha256(b"\1", value, sibling)
        at, last = at >> 1, last >> 1
    return value if last == 0 else None


# Protocol buffers: fields as (number, value), as far as frames need it

def fields(data):
    at, found = 0, []

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise ValueError("a varint of more than 64 bits")

    while at < len(data):
        key = varint()
        if key >> 3 == 0:
            raise ValueError("field 0")
        if key & 7 == 0:
            found.append((key >> 3, varint()))
        elif key & 7 == 1:
            found.append((key >> 3, int.from_bytes(data[at:at + 8], "little")))
            at += 8
        elif key & 7 == 2:
            length = varint()
            if at + length > len(data):
                raise ValueError("a field that goes beyond the end")
            found.append((key >> 3, data[at:at + length]))
            at += length
        else:
            raise ValueError(f"wire type {key & 7}")
    return found


def message(data):
    """The last value of each field; what is left out reads as 0 or nothing."""
    return dict(fields(data))


# LZ4 block format

def unpack(packed, length):
    """Exactly `length` bytes, or an error; never more than that in memory."""
    out, at = bytearray(), 0

    def more(value):
        nonlocal at
        if value == 15:
            while True:
                byte = packed[at]
                at += 1
                value += byte
                if byte != 255:
                    break
        return value

    while True:
        token = packed[at]
        at += 1
        literals = more(token >> 4)
        if at + literals > len(packed) or len(out) + literals > length:
            raise ValueError("literals beyond an end")
        out += packed[at:at + literals]
        at += literals
        if at == len(packed):
            break
        distance = packed[at] | packed[at + 1] << 8
        at += 2
        matched = more(token & 15) + 4
        if not 0 < distance <= len(out) or len(out) + matched > length:
            raise ValueError("a match beyond an end")
        for _ in range(matched):
            out.append(out[-distance])
    if len(out) != length:
        raise ValueError("too few bytes")
    return bytes(out)


# ECDSA on P-256 (FIPS 186-5; SEC 1)

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


def add(one, other):
    if one is None or other is None:
        return one or other
    if one[0] == other[0] and (one[1] + other[1]) % P == 0:
        return None
    if one == other:
        slope = (3 * one[0] * one[0] - 3) * pow(2 * one[1], -1, P) % P
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, P) % P
    x = (slope * slope - one[0] - other[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def times(factor, point):
    total = None
    while factor:
        if factor & 1:
            total = add(total, point)
        point, factor = add(point, point), factor >> 1
    return total


def der(data):
    """Tag, content and what follows of one DER value."""
    tag, length, at = data[0], data[1], 2
    if length & 0x80:
        count = length & 0x7F
        length, at = int.from_bytes(data[2:2 + count], "big"), 2 + count
    return tag, data[at:at + length], data[at + length:]


def parts(data):
    found = []
    while data:
        tag, content, rest = der(data)
        found.append((tag, content, data[:len(data) - len(rest)]))
        data = rest
    return found


def signed_by(key, data, signature):
    r, s = (int.from_bytes(part[1], "big") for part in parts(der(signature)[1]))
    if not (0 < r < N and 0 < s < N):
        return False
    inverse = pow(s, -1, N)
    first = times(int.from_bytes(sha256(data), "big") * inverse % N, G)
    point = add(first, times(r * inverse % N, key))
    return point is not None and point[0] % N == r


class Certificate:
    """What the protocol reads of an X.509 certificate (RFC 5280 section 4.1)."""

    def __init__(self, data):
        to_be_signed, _, signature = parts(der(data)[1])
        self.signed, self.signature = to_be_signed[2], signature[1][1:]
        named = [part for part in parts(to_be_signed[1]) if part[0] not in (0xA1, 0xA2)]
        _version, _serial, _algorithm, self.issuer, validity, self.subject, key, extensions = named
        self.begin, self.end = (moment(*part[:2]) for part in parts(validity[1]))
        point = parts(key[1])[1][1][1:]
        self.key = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
        self.uris = []
        for _, extension, _ in parts(der(extensions[1])[1]):
            inside = parts(extension)
            if inside[0][1] == bytes.fromhex("551d11"):
                names = parts(der(inside[-1][1])[1])
                self.uris = [content.decode() for tag, content, _ in names if tag == 0x86]


def moment(tag, content):
    """A time of a certificate as ms since the Unix epoch."""
    import datetime
    form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"
    at = datetime.datetime.strptime(content.decode(), form).replace(tzinfo=datetime.timezone.utc)
    return int(at.timestamp()) * 1000


# The files

def transactions():
    tx = load("transaction")
    header, body = bytes.fromhex(tx["header"]), bytes.fromhex(tx["body"])
    same(sha256(b"sorcha-tx-v1", header).hex(), tx["id"], "id of the transaction")
    same(sha256(tx["origin_uri"].encode()).hex(), tx["origin"], "id of its origin")
    same(root(leaves(body)).hex(), tx["body_root"], "root of its body")
    said = message(header)
    wanted = [tx["network"].encode(), bytes.fromhex(tx["origin"]), tx["incarnation"], tx["sequence"],
              tx["register"].encode(), tx["published_unix_ms"], len(body), bytes.fromhex(tx["body_root"])]
    same([said.get(number) for number in range(1, 9)], wanted, "fields of the header")
    record = load("record")
    said = message(bytes.fromhex(record["record"]))
    same(said[1].decode(), record["uri"], "URI of the record")
    same(sha256(said[1]).hex(), record["peer"], "id of the record's peer")


def trees():
    for tree in load("tree")["trees"]:
        body = bytes((7 * at + 3) % 251 for at in range(tree["bytes"]))
        hashes = leaves(body)
        what = f"tree of {tree['bytes']} bytes, chunk {tree['index']}"
        same(len(hashes), tree["chunks"], what)
        same(root(hashes).hex(), tree["root"], what)
        same(hashes[tree["index"]].hex(), tree["leaf"], what)
        proof = [bytes.fromhex(node) for node in tree["proof"]]
        led = root_by_proof(hashes[tree["index"]], tree["index"], tree["chunks"], proof)
        same(led.hex(), tree["root"], f"proof in the {what}")


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def grids():
    prefix = lambda text: int(text[:16], 16)
    rotated = lambda x: (x << 32 | x >> 32) % 2**64
    grid = load("grid")
    for peer in grid["peers"]:
        same(sha256(peer["uri"].encode()).hex(), peer["peer"], "peer id")
        for rows, row in peer["row_of_rows"].items():
            same(prefix(peer["peer"]) % int(rows), row, f"row of {peer['uri']} among {rows}")
    for tx in grid["transactions"]:
        ranks = {peer: mix(prefix(tx["tx"]) ^ rotated(prefix(peer))) for peer in tx["rank_hex"]}
        same({peer: f"{rank:016x}" for peer, rank in ranks.items()}, tx["rank_hex"], "ranks")
        for row, order in enumerate(tx["order_by_row"]):
            here = [peer for peer in ranks if prefix(peer) % tx["rows"] == row]
            same(sorted(here, key=ranks.get), order, f"order of row {row}")


def announcements():
    for case in load("announce")["cases"]:
        same(case["unix_ms"] // 600000, case["epoch"], "epoch")
        salt = sha256(b"sorcha-announce-v1", case["epoch"].to_bytes(8, "little"), case["network"].encode())[:8]
        same(salt.hex(), case["salt_hex"], "salt")
        for one in case["ids"]:
            short = sha256(salt[::-1], bytes.fromhex(one["id"]))[:8]
            same(short.hex(), one["short_id"], "short id")


def total(ids):
    return (sum(int.from_bytes(one, "little") for one in ids) % 2**256).to_bytes(32, "little").hex()


def reconciliation():
    sync = load("sync")
    place = lambda key: (key["published_unix_ms"], bytes.fromhex(key["id"]))
    same(sorted(sync["keys"], key=place), sync["ordered"], "order of keys")
    for bounds in sync["ranges"]:
        lower, upper = place(bounds["lower"]), place(bounds["upper"])
        inside = [place(key)[1] for key in sync["keys"] if lower <= place(key) < upper]
        same([len(inside), total(inside)], [bounds["count"], bounds["sum"]], f"range {bounds['lower']}")
    same(total(bytes.fromhex(one) for one in sync["carry"]["ids"]), sync["carry"]["sum"], "a sum that carries")
    summands = []
    for record in sync["records"]["records"]:
        numbers = [record[name].to_bytes(8, "little") for name in ("incarnation", "sequence")]
        summands.append(sha256(bytes.fromhex(record["peer"]), *numbers))
        same(summands[-1].hex(), record["summand"], "summand of a record")
    same(total(summands), sync["records"]["digest"], "digest of records")


def signatures():
    file, tx = load("signatures"), load("transaction")
    trusted = Certificate(bytes.fromhex(file["authority"]["certificate"]))
    same(signed_by(trusted.key, trusted.signed, trusted.signature), True, "the root signs itself")

    def verdict(certificate, at, domain, data, signature, wanted):
        leaf = Certificate(certificate)
        if leaf.issuer != trusted.subject or not leaf.begin <= at <= leaf.end:
            return "untrusted"
        if not signed_by(trusted.key, leaf.signed, leaf.signature) or len(leaf.uris) != 1:
            return "forged"
        is_peer = sha256(leaf.uris[0].encode()).hex() == wanted
        is_of = leaf.uris[0].split("/")[3] == tx["network"]
        good = signed_by(leaf.key, domain + data, signature)
        return "valid" if is_peer and is_of and good else "forged"

    for check in file["checks"]:
        found = verdict(bytes.fromhex(check["certificate"]), check["published_unix_ms"], b"sorcha-tx-v1",
                        bytes.fromhex(check["header"]), bytes.fromhex(check["signature"]), tx["origin"])
        same(found, check["verdict"], check["what"])
    for what, domain, data in [("transaction", b"sorcha-tx-v1", tx["header"]),
                               ("record", b"sorcha-record-v1", load("record")["record"])]:
        found = verdict(bytes.fromhex(file["origin"]["certificate"]), tx["published_unix_ms"], domain,
                        bytes.fromhex(data), bytes.fromhex(file[what]["signature"]), tx["origin"])
        same(found, "valid", f"signature of the {what}")

    several, key = file["several"], Certificate(bytes.fromhex(file["origin"]["certificate"])).key
    ids = [bytes.fromhex(one) for one in several["ids"]]
    top = root([sha256(b"\0", one) for one in ids])
    signed = b"sorcha-tx-batch-v1" + len(ids).to_bytes(2, "big") + top
    same([ids[0].hex(), top.hex(), signed.hex()], [tx["id"], several["root"], several["message"]], "tree of several")
    same(signed_by(key, signed, bytes.fromhex(several["der"])), True, "signature over several")
    for place, (one, field) in enumerate(zip(ids, several["fields"])):
        field = bytes.fromhex(field)
        count, index = int.from_bytes(field[1:3], "big"), int.from_bytes(field[3:5], "big")
        proof, at, last = [], index, count - 1
        while last:  # the sibling at each level, where there is one
            if at ^ 1 <= last:
                proof.append(field[5 + 32 * len(proof):][:32])
            at, last = at >> 1, last >> 1
        led = root_by_proof(sha256(b"\0", one), index, count, proof)
        rest = field[5 + 32 * len(proof):].hex()
        same([field[0], count, index, led, rest], [1, len(ids), place, top, several["der"]], f"field {place} of several")


def packed():
    for block in load("packed")["blocks"]:
        plain = repeated(block["plain"])
        same(unpack(bytes.fromhex(block["packed"]), len(plain)), plain, block["name"])


BODIES = {"hello": 16, "hello_codings": 16, "hello_references": 16, "ack": 17, "ping": 18, "pong": 19, "goodbye": 20, "announce": 22, "fetch": 23, "fetch_whole": 23,
          "chunk_request": 24, "chunk": 25, "chunk_packed": 25, "unavailable": 26, "records_request": 27, "records": 28,
          "sync": 29, "holds_request": 30, "holds": 31, "missed": 32}


def frames():
    file = load("frames")
    bodies = {}
    for frame in file["frames"]:
        name, says = frame["name"], frame["says"]
        read = message(bytes.fromhex(frame["frame"]))
        same([read.get(1, 0), read[2], read[3]], [frame["sequence"], 12, 5], f"numbers of {name}")
        number = BODIES.get(name, 21)
        body = message(read[number])
        body["all"] = fields(read[number])
        if number == 21:
            envelope = message(body[1])
            header = message(envelope[1])
            same(sha256(b"sorcha-tx-v1", envelope[1]).hex(), says["id"], f"id of {name}")
            found = [body.get(2, 0), body.get(3, 0), body.get(4, 0)]
            same(found, [says["rows"], int(says["head"]), says["hops"]], f"rows, head and hops of {name}")
            same(body.get(5, 0), int(says.get("chunks_follow", False)), f"chunks that follow {name}")
            bodies[says["id"]] = header
            certificate = bytes.fromhex(load("signatures")["origin"]["certificate"])
            if "certificate_of" in says:
                same([3 in envelope, envelope[6]], [False, sha256(certificate)], f"reference in {name}")
                # Made whole by what the record of that peer carries.
                leaf = Certificate(certificate)
                good = signed_by(leaf.key, b"sorcha-tx-v1" + envelope[1], envelope[2])
                same([leaf.uris, good], [[says["certificate_of"]], True], f"signature of {name}")
            else:
                same([envelope[3], 6 in envelope], [certificate, False], f"certificate in {name}")
            plain = envelope.get(4)
            if envelope.get(5, 0) == 1:
                plain = unpack(plain, header[7])
            wanted = says["body"]
            wanted = repeated(wanted) if isinstance(wanted, dict) else wanted and bytes.fromhex(wanted)
            same(plain, wanted, f"body of {name}")
            if plain is not None:
                same([len(plain), root(leaves(plain))], [header[7], header[8]], f"body and header of {name}")
        elif number == 25:
            header = bodies[body[1].hex()]
            data = unpack(body[3], body[6]) if body.get(5, 0) == 1 else body[3]
            wanted = says["data"]
            same(data, repeated(wanted) if isinstance(wanted, dict) else bytes.fromhex(wanted), f"data of {name}")
            proof = [body[4][at:at + 32] for at in range(0, len(body[4]), 32)]
            count = -(-header[7] // CHUNK)
            led = root_by_proof(sha256(b"\0", data), body.get(2, 0), count, proof)
            same([body[1].hex(), body.get(2, 0), led], [says["id"], says["index"], header[8]], f"proof of {name}")
        else:
            same(said_by(number, body), says, f"what {name} says")


def said_by(number, body):
    """A frame's body in the words of the vectors."""
    ids = lambda field: [body[field][at:at + 32].hex() for at in range(0, len(body.get(field, b"")), 32)]
    tx = load("transaction")["id"]
    short = lambda salt: sha256(salt.to_bytes(8, "little"), bytes.fromhex(tx))[:8]
    if number == 16:
        return {"rows": body[7], "codings": ["LZ4_BLOCK"] if body.get(10) == b"\1" else [],
                "references": bool(body.get(11, 0))}
    if number == 17:
        # Bit 0 of ack_bits stands for ack - 1.
        return {"ack": 12, "acknowledges": sorted({12} | {12 - 1 - bit for bit in range(64) if 5 >> bit & 1})}
    if number in (18, 19):
        return {"nonce": body[1]}
    if number == 20:
        return {"reason": {1: "REASON_SHUTDOWN"}[body[1]], "detail": body[2].decode()}
    if number == 22:
        return {"salt": body[1], "ids": [tx] if body[2] == short(body[1]) else []}
    if number == 23:
        salt = body.get(2, 0)
        return {"ids": ids(1), "salt": salt, "short_ids_of": [tx] if body.get(3) == short(salt) else [],
                "whole": bool(body.get(4, 0))}
    if number == 24:
        return {"id": body[1].hex(), "first": body.get(2, 0), "count": body[3]}
    if number in (26, 30, 31):
        return {"ids": ids(1)}
    if number == 27:
        return {"limit": body[1], "digest": body[2].hex()}
    if number == 28:
        record = message(body[1])
        leaf = Certificate(record[3])
        uri = message(record[1])[1].decode()
        good = leaf.uris == [uri] and signed_by(leaf.key, b"sorcha-record-v1" + record[1], record[2])
        return {"peers": [sha256(uri.encode()).hex()] if good else [], "news": bool(body.get(2, 0))}
    if number == 32:
        missed = [message(value) for field, value in body["all"] if field == 1]
        return {"peers": [{"peer": one[1].hex(), "incarnation": one[2], "sequence": one[3]} for one in missed]}
    ranges = [message(value) for field, value in body["all"] if field == 2]
    return {"round": body[1], "opening": bool(body.get(5, 0)), "want": ids(4),
            "ranges": ["fingerprint" if 16 in one else "ids" for one in ranges]}


def odd():
    known = set(BODIES.values()) | {21}
    for odd in load("odd")["frames"]:
        what, does = odd["what"], None
        try:
            read = message(bytes.fromhex(odd["frame"]))
            number = next((number for number in read if number >= 16), None)
            body = message(read[number]) if number in known else {}
            envelope = message(body[1]) if number == 21 else {}
            header = message(envelope[1]) if number == 21 else {}
            certificate, reference = envelope.get(3, b""), envelope.get(6, b"")
            is_proven = number != 21 or bool(certificate) != bool(reference) and len(reference) in (0, 32)
            rows = body.get(2, 0) if number == 21 else 1
            coding = envelope.get(5, 0) if number == 21 else body.get(5, 0) if number == 25 else 0
            plain = header.get(7, 0) if number == 21 else body.get(6, 0)
            most = 4096 if number == 21 else CHUNK
            if number not in known:
                does = "ignored"
            elif number == 22 and len(body.get(2, b"")) % 8 or number == 24 and body.get(3, 0) > 64:
                does = "protocol"
            elif not is_proven or rows & rows - 1 or coding > 1 or coding == 1 and plain > most:
                does = "protocol"
            elif coding == 1:
                try:
                    unpack(envelope[4] if number == 21 else body.get(3, b""), plain)
                    does = "taken"
                except (ValueError, IndexError):
                    does = "garbled"
            else:
                does = "taken"
        except (ValueError, IndexError):
            does = "protocol"
        same(does, odd["reader"], what)


for part in [transactions, trees, grids, announcements, reconciliation, signatures, packed, frames, odd]:
    before = checked
    part()
    print(f"{part.__name__}: {checked - before} values agree")
print(f"{checked} values agree")
