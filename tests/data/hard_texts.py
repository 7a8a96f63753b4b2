"""Texts that tokenizers have got wrong."""

HARD_TEXTS = [
    "",
    "Hello world, it's 2024: we'll don't I'VE he'd'd ''s 's 'S \u2019s",
    "e\u0301\u0327 A\u030a \u1e9e\u00df \u0130\u0131 \u017f \u212a",
    "日本語のテキスト。中文，全角！ 한국어 조선말",
    "नमस्ते दुनिया கொண்டாட்டம் ไทยไม่มีช่องว่าง ᄀᄁ",
    "👨‍👩‍👧‍👦👍🏽🏳️‍🌈🇩🇪🇫🇷 1️⃣",
    "a\u00a0b \u00a0 c\u2028\u2028d\u2029 \x85\x85 e\u3000f\u200b\u200d\ufeff g\u180eh\u205f",
    "  \n\n \t\t x \r\n\r\n   y    ",
    " " * 5000 + "end",
    "\n" * 3000 + "x" + "\t" * 77,
    "\x00\x01\x1c\x1d\x1e\x1f\x7f\x0b\x0c",
    "٣٤٥ Ⅷ ½ ² ١ ① ㊿ 12345678901234567890",
    "\u0378\ue000\U000e0001\U0010ffff\ufffe'tail 's",
    "\u088f's \U000323b0't \ua7ce'll \U00016ea0!! \u1c89're",  # letters new in Unicode 16 and 17
    "x" * 20_000,
    "=" * 9_999 + "-" * 501,
    "ab" * 5_000 + "Ġ Ċ <|endoftext|> <|startoftext|>",
]
