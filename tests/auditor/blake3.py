"""BLAKE3 as its specification describes it: the plain and the keyed hash, 32 bytes long. Slow, and independent."""

import struct

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED_HASH = 1, 2, 4, 8, 16
CHUNK_BYTES, BLOCK_BYTES, MASK = 1024, 64, 0xFFFFFFFF


def rotate(word: int, bits: int) -> int:
    return (word >> bits) | (word << (32 - bits)) & MASK


def mix(state: list[int], a: int, b: int, c: int, d: int, x: int, y: int):
    state[a] = (state[a] + state[b] + x) & MASK
    state[d] = rotate(state[d] ^ state[a], 16)
    state[c] = (state[c] + state[d]) & MASK
    state[b] = rotate(state[b] ^ state[c], 12)
    state[a] = (state[a] + state[b] + y) & MASK
    state[d] = rotate(state[d] ^ state[a], 8)
    state[c] = (state[c] + state[d]) & MASK
    state[b] = rotate(state[b] ^ state[c], 7)


def compress(chain: tuple[int, ...], block: bytes, counter: int, flags: int) -> tuple[int, ...]:
    words = list(struct.unpack("<16I", block.ljust(BLOCK_BYTES, b"\0")))
    state = [*chain, *IV[:4], counter & MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for number, (a, b, c, d) in enumerate(((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))):
            mix(state, a, b, c, d, words[2 * number], words[2 * number + 1])
        for number, (a, b, c, d) in enumerate(((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)), 4):
            mix(state, a, b, c, d, words[2 * number], words[2 * number + 1])
        words = [words[place] for place in PERMUTATION]
    return tuple(state[place] ^ state[place + 8] for place in range(8))


def of_chunk(data: bytes, counter: int, key: tuple[int, ...], flags: int) -> tuple[int, ...]:
    blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)] or [b""]
    is_root, flags = flags & ROOT, flags & ~ROOT
    chain = key
    for number, block in enumerate(blocks):
        start = CHUNK_START if number == 0 else 0
        end = CHUNK_END | is_root if number == len(blocks) - 1 else 0
        chain = compress(chain, block, counter, flags | start | end)
    return chain


def of_tree(data: bytes, counter: int, key: tuple[int, ...], flags: int) -> tuple[int, ...]:
    if len(data) <= CHUNK_BYTES:
        return of_chunk(data, counter, key, flags)
    # The left side is the largest complete tree that leaves something to the right.
    chunks = (len(data) - 1) // CHUNK_BYTES
    left = 1 << (chunks.bit_length() - 1)
    below = flags & ~ROOT
    parts = (
        of_tree(data[: left * CHUNK_BYTES], counter, key, below),
        of_tree(data[left * CHUNK_BYTES :], counter + left, key, below),
    )
    return compress(key, struct.pack("<16I", *parts[0], *parts[1]), 0, flags | PARENT)


def plain(data: bytes) -> bytes:
    return struct.pack("<8I", *of_tree(data, 0, IV, ROOT))


def keyed(key: bytes, data: bytes) -> bytes:
    return struct.pack("<8I", *of_tree(data, 0, struct.unpack("<8I", key), ROOT | KEYED_HASH))
