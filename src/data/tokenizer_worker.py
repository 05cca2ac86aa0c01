# Encodes and decodes with Hugging Face's tokenizers for a parent process: text and ids go over stdin
# and stdout. worker_common.py comes before this; the program runs both with python -I -c.
#
# First comes one answer about the tokenizer: JSON, or what is wrong with it. Then, until stdin ends:
#   e LENGTH text        ->  COUNT ids (u32 each)
#   d COUNT ids          ->  LENGTH text
#   c LENGTH rendered    ->  COUNT ids (u32 each), COUNT bytes, a byte
# `rendered` is what chat_worker.py answered. Of its ids the bytes say 1 where they have loss; the last
# one is 1 where a prompt's ids are not those that the whole begins with.
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker is one thread


def end_of(tokenizer, folder):
    """The id that ends a document: as the files beside say, else by a name that is usual."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        token = read_json(os.path.join(folder, file)).get("eos_token")
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str) and tokenizer.token_to_id(token) is not None:
            return tokenizer.token_to_id(token)
    for file in ("generation_config.json", "config.json"):
        ids = read_json(os.path.join(folder, file)).get("eos_token_id")
        ids = ids if isinstance(ids, list) else [ids]
        if ids and isinstance(ids[0], int) and not isinstance(ids[0], bool) and ids[0] >= 0:
            return ids[0]
    for token in ("<|end_of_text|>", "<|endoftext|>", "</s>", "<|im_end|>"):
        if tokenizer.token_to_id(token) is not None:
            return tokenizer.token_to_id(token)
    return None


def begin_of(tokenizer):
    """What the tokenizer itself puts before each text."""
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a", add_special_tokens=True).ids
    for begin in range(len(whole) - len(plain) + 1):
        if whole[begin:begin + len(plain)] == plain:
            return whole[:begin]
    return []


def encode_chat(tokenizer, chat):
    """Ids, loss and whether the prompt's ids are other ones. Special tokens are such."""
    encoded = tokenizer.encode(chat["text"], add_special_tokens=False)
    ids = encoded.ids
    if "prompt" in chat:  # loss begins behind as many tokens as the prompt has alone
        prompt = tokenizer.encode(chat["prompt"], add_special_tokens=False).ids
        begin = min(len(prompt), len(ids))
        return ids, bytes(begin) + b"\1" * (len(ids) - begin), ids[:len(prompt)] != prompt
    loss = bytearray(len(ids))
    spans = iter(chat["spans"])
    span = next(spans, None)
    for i, (begin, end) in enumerate(encoded.offsets):  # both in order
        while span and begin >= span[1]:
            span = next(spans, None)
        if span and end > span[0]:
            loss[i] = 1
    return ids, bytes(loss), False


def main(path, special_in_text):
    try:
        import tokenizers
    except ImportError:
        return complain("no module tokenizers")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = not special_in_text
        ids = tokenizer.get_vocab(with_added_tokens=True).values()
        about = {"ids": max(ids, default=-1) + 1, "begin": begin_of(tokenizer),
                 "end": end_of(tokenizer, os.path.dirname(path)),
                 "version": tokenizers.__version__}
    except BaseException as error:  # the library's panics are no Exception
        return complain(error)
    text = json.dumps(about).encode()
    answer(len(text), text)
    for operation, count in requests():
        try:
            if operation == b"e":
                text = read_exactly(count).decode("utf-8")
                encoded = array.array("I", tokenizer.encode(text, add_special_tokens=False).ids)
                answer(len(encoded), encoded.tobytes())
            elif operation == b"c":
                chat = json.loads(read_exactly(count))
                tokenizer.encode_special_tokens = False
                try:
                    ids, loss, joined = encode_chat(tokenizer, chat)
                finally:
                    tokenizer.encode_special_tokens = not special_in_text
                answer(len(ids), array.array("I", ids).tobytes() + loss + bytes([joined]))
            else:
                ids = array.array("I", read_exactly(4 * count))
                decoded = tokenizer.decode(ids.tolist(), skip_special_tokens=False).encode("utf-8")
                answer(len(decoded), decoded)
        except BaseException as error:
            if isinstance(error, SystemExit):
                raise
            complain(error)


main(sys.argv[1], sys.argv[2] == "special")
