"""Ask, then tell the gateway what the answer should have been: POST /v1/feedback.

    PALIER_API_KEY=pk-… python examples/send_feedback.py "When do you open?" "At noon, on Sunday at 13:00."

PALIER_URL is the gateway's base URL. An answer is named by its `x-request-id`; only the key that asked may judge it.
"""

import os
import sys

import httpx

DEFAULT_URL = "http://127.0.0.1:8000/v1"


def checked(reply: httpx.Response) -> httpx.Response:
    """The reply, or the end of this script with the gateway's own words."""
    if reply.is_error:
        sys.exit(reply.text)
    return reply


def main() -> None:
    question = sys.argv[1] if len(sys.argv) > 1 else "When do you open?"
    correction = sys.argv[2] if len(sys.argv) > 2 else "At noon, on Sunday at 13:00."
    headers = {"Authorization": f"Bearer {os.environ['PALIER_API_KEY']}"}
    url = os.environ.get("PALIER_URL", DEFAULT_URL)
    with httpx.Client(base_url=url, headers=headers, timeout=60) as gateway:
        chat = {"model": "palier", "messages": [{"role": "user", "content": question}]}
        reply = checked(gateway.post("/chat/completions", json=chat))
        request_id = reply.headers["x-request-id"]
        print(f"{request_id}: {reply.json()['choices'][0]['message']['content']}")
        judged = {"request_id": request_id, "rating": -1, "correction": correction}
        print(checked(gateway.post("/feedback", json=judged)).json())


if __name__ == "__main__":
    main()
