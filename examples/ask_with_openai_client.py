"""Ask the gateway with the official `openai` client, first as a whole and then as a stream.

    PALIER_API_KEY=pk-… python examples/ask_with_openai_client.py "Do you deliver in Leeds?"

PALIER_URL is the gateway's base URL. Each answer says in its `palier` object what it cost and what it rests on; in a
stream that object comes in the last chunk.
"""

import json
import os
import sys
from typing import Any

import openai

DEFAULT_URL = "http://127.0.0.1:8000/v1"


def ask(client: openai.OpenAI, question: str) -> tuple[str, dict[str, Any]]:
    """The answer and its `palier` object."""
    reply = client.chat.completions.create(model="palier", messages=[{"role": "user", "content": question}])
    return reply.choices[0].message.content or "", (reply.model_extra or {})["palier"]


def stream(client: openai.OpenAI, question: str) -> dict[str, Any]:
    """Print the answer as it comes; returns its `palier` object."""
    palier: dict[str, Any] = {}
    chunks = client.chat.completions.create(
        model="palier", messages=[{"role": "user", "content": question}], stream=True
    )
    for chunk in chunks:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        palier = (chunk.model_extra or {}).get("palier") or palier
    print()
    return palier


def main() -> None:
    question = " ".join(sys.argv[1:]) or "Do you deliver in Leeds?"
    client = openai.OpenAI(base_url=os.environ.get("PALIER_URL", DEFAULT_URL), api_key=os.environ["PALIER_API_KEY"])
    answer, palier = ask(client, question)
    print(answer)
    print(json.dumps(palier, indent=2, ensure_ascii=False))
    print("\nThe same as a stream:")
    palier = stream(client, question)
    print(f"rung {palier['rung']}, {palier['cost_usd']:.9f} USD, {len(palier['citations'])} citation(s)")


if __name__ == "__main__":
    main()
