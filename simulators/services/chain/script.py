"""What a script is: its type, its address on regtest, its text, its plainest descriptor."""

from collections.abc import Iterator

from embit import base58, bech32  # type: ignore[import-untyped]
from embit.descriptor.checksum import add_checksum  # type: ignore[import-untyped]

BECH32_PREFIX = "bcrt"
P2PKH_VERSION, P2SH_VERSION = b"\x6f", b"\xc4"
KEYS_MAX = 20
_CHECKSIG, _CHECKMULTISIG, _RETURN, _SMALL = 0xAC, 0xAE, 0x6A, 0x50
_ANCHOR = bytes.fromhex("51024e73")
_FIRST_NAMED = 0x61
_NAMES = (  # noqa: SIM905 - as a list they would fill a page
    "NOP VER IF NOTIF VERIF VERNOTIF ELSE ENDIF VERIFY RETURN TOALTSTACK FROMALTSTACK 2DROP 2DUP "
    "3DUP 2OVER 2ROT 2SWAP IFDUP DEPTH DROP DUP NIP OVER PICK ROLL ROT SWAP TUCK CAT SUBSTR LEFT "
    "RIGHT SIZE INVERT AND OR XOR EQUAL EQUALVERIFY RESERVED1 RESERVED2 1ADD 1SUB 2MUL 2DIV NEGATE "
    "ABS NOT 0NOTEQUAL ADD SUB MUL DIV MOD LSHIFT RSHIFT BOOLAND BOOLOR NUMEQUAL NUMEQUALVERIFY "
    "NUMNOTEQUAL LESSTHAN GREATERTHAN LESSTHANOREQUAL GREATERTHANOREQUAL MIN MAX WITHIN RIPEMD160 "
    "SHA1 SHA256 HASH160 HASH256 CODESEPARATOR CHECKSIG CHECKSIGVERIFY CHECKMULTISIG "
    "CHECKMULTISIGVERIFY NOP1 CHECKLOCKTIMEVERIFY CHECKSEQUENCEVERIFY NOP4 NOP5 NOP6 NOP7 NOP8 "
    "NOP9 NOP10 CHECKSIGADD"
).split()


def operations(script: bytes) -> Iterator[tuple[int, bytes] | None]:
    """Each opcode with the bytes that it pushes; None, as the last, where a push is cut short."""
    at = 0
    while at < len(script):
        code = script[at]
        at += 1
        size = code if code < 0x4C else 0
        if 0x4C <= code <= 0x4E:
            wide = 1 << (code - 0x4C)
            size = int.from_bytes(script[at : at + wide], "little")
            if at + wide > len(script):
                yield None
                return
            at += wide
        if at + size > len(script):
            yield None
            return
        yield code, script[at : at + size]
        at += size


def assembly(script: bytes) -> str:
    """The script as Bitcoin Core writes it for people."""
    return " ".join(_word(operation) for operation in operations(script))


def witness_program(script: bytes) -> tuple[int, bytes] | None:
    """Version and program of a segregated witness output."""
    if not 4 <= len(script) <= 42 or script[1] != len(script) - 2:
        return None
    if script[0] == 0:
        return 0, script[2:]
    if _SMALL < script[0] <= _SMALL + 16:
        return script[0] - _SMALL, script[2:]
    return None


def kind(script: bytes) -> str:
    """The type by Bitcoin Core's name: "witness_v0_keyhash", "nulldata", …, "nonstandard"."""
    program = witness_program(script)
    if program is not None:
        return _witness_kind(script, *program)
    if len(script) == 23 and script[:2] == b"\xa9\x14" and script[22] == 0x87:
        return "scripthash"
    if script[:1] == bytes((_RETURN,)) and _pushes_only(script[1:]):
        return "nulldata"
    if len(script) == 25 and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
        return "pubkeyhash"
    if (
        script[-1:] == bytes((_CHECKSIG,))
        and _is_key(script[1:-1])
        and script[0] == len(script) - 2
    ):
        return "pubkey"
    return "nonstandard" if multisig(script) is None else "multisig"


def multisig(script: bytes) -> tuple[int, list[bytes]] | None:
    """Threshold and public keys of a script that asks for some of several signatures."""
    steps = list(operations(script))
    if len(steps) < 4 or steps[-1] != (_CHECKMULTISIG, b"") or None in steps:
        return None
    codes = [step for step in steps if step is not None]
    keys = [pushed for _, pushed in codes[1:-2]]
    needed, total = codes[0][0] - _SMALL, codes[-2][0] - _SMALL
    if not 1 <= needed <= total == len(keys) <= KEYS_MAX or not all(_is_key(key) for key in keys):
        return None
    return needed, keys


def address_of(script: bytes) -> str | None:
    """The regtest address of a script that has one."""
    program = witness_program(script)
    if program is not None:
        return (
            str(bech32.encode(BECH32_PREFIX, *program)) if kind(script) != "nonstandard" else None
        )
    match kind(script):
        case "pubkeyhash":
            return str(base58.encode_check(P2PKH_VERSION + script[3:23]))
        case "scripthash":
            return str(base58.encode_check(P2SH_VERSION + script[2:22]))
    return None


def script_of(address: str) -> bytes | None:
    """The script of a regtest address; None for any other text."""
    version, program = bech32.decode(BECH32_PREFIX, address)
    if version is not None:
        return bytes((version + _SMALL if version else 0, len(program), *program))
    try:
        data = bytes(base58.decode_check(address))
    except ValueError:
        return None
    if len(data) == 21 and data[:1] == P2PKH_VERSION:
        return b"\x76\xa9\x14" + data[1:] + b"\x88\xac"
    if len(data) == 21 and data[:1] == P2SH_VERSION:
        return b"\xa9\x14" + data[1:] + b"\x87"
    return None


def plain_descriptor(script: bytes) -> str:
    """The descriptor of a script of which nothing else is known, with its checksum."""
    address = address_of(script)
    match kind(script):
        case "witness_v1_taproot":
            text = f"rawtr({script[2:].hex()})"
        case "pubkey":
            text = f"pk({script[1:-1].hex()})"
        case "multisig":
            needed, keys = multisig(script) or (0, [])
            text = f"multi({needed},{','.join(key.hex() for key in keys)})"
        case _:
            text = f"raw({script.hex()})" if address is None else f"addr({address})"
    return str(add_checksum(text))


def _word(operation: tuple[int, bytes] | None) -> str:
    if operation is None:
        return "[error]"
    code, pushed = operation
    if code <= 0x4E:
        return pushed.hex() if len(pushed) > 4 else str(_script_number(pushed))
    if code == 0x4F:
        return "-1"
    if _SMALL < code < _FIRST_NAMED:
        return str(code - _SMALL)
    if code == _SMALL:
        return "OP_RESERVED"
    named = code - _FIRST_NAMED
    return f"OP_{_NAMES[named]}" if named < len(_NAMES) else "OP_UNKNOWN"


def _script_number(data: bytes) -> int:
    """Little-endian, the highest bit being the sign."""
    if not data:
        return 0
    size = int.from_bytes(data[:-1] + bytes((data[-1] & 0x7F,)), "little")
    return -size if data[-1] & 0x80 else size


def _witness_kind(script: bytes, version: int, program: bytes) -> str:
    match version, len(program):
        case 0, 20:
            return "witness_v0_keyhash"
        case 0, 32:
            return "witness_v0_scripthash"
        case 1, 32:
            return "witness_v1_taproot"
        case 0, _:
            return "nonstandard"
    return "anchor" if script == _ANCHOR else "witness_unknown"


def _pushes_only(script: bytes) -> bool:
    return all(step is not None and step[0] <= _SMALL + 16 for step in operations(script))


def _is_key(data: bytes) -> bool:
    return (len(data) == 33 and data[0] in (2, 3)) or (len(data) == 65 and data[0] in (4, 6, 7))
