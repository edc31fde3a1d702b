"""Keys are guessed by name and by what they hold; rows of several schemas each by their own."""

import json
from typing import Any

import pytest
from pdata.roles.field_map import find_value
from pdata.roles.guess import guess_fields
from pdata.roles.names import name_of
from pdata.roles.schemas import guess_schemas
from pdata.sources.source import Source, read_source

from pbranch.errors import DataError
from pbranch.files.jsonl import JsonLine
from pbranch.format.tree import plain_text

TRACE = "- Ash: a dense wood that bends well.\n- Fir: a soft wood that is cheap."
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": TRACE}]
BAD = [TURNS[0], {"role": "assistant", "content": "bad"}]


def keys(*rows: dict[str, Any]) -> dict[str, str]:
    return dict(guess_fields(rows[0], {}, rows[1:]).named())


def read(row: dict[str, Any]) -> Source:
    return read_source(JsonLine("some.jsonl", 3, json.dumps(row)), guess_schemas([row], {}))


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"question": "q", "answer": "A", "generated_text": TRACE},
         {"completion": "generated_text", "answer": "answer"}),
        ({"question": "q", "cot": TRACE, "answer": "ash"},
         {"completion": "cot", "answer": "answer"}),
        ({"question": "q", "cot": TRACE, "answer": "It is ash, which is a dense wood."},
         {"completion": "answer", "reasoning": "cot"}),
        ({"question": "q", "reasoning": TRACE, "answer": "B"},
         {"completion": "reasoning", "answer": "answer"}),
        ({"question": "q", "rationale": TRACE, "correct": "A"},
         {"completion": "rationale", "answer": "correct"}),
        ({"question": "q", "std_answer": TRACE}, {"completion": "std_answer"}),
        ({"question": "q", "standard_answer": ["C"], "analysis": TRACE, "model_answer": ["B"],
          "model_output": TRACE}, {"completion": "model_output", "answer": "standard_answer"}),
        ({"question": "q", "response": TRACE, "standard_answer": "long " * 40},
         {"completion": "response"}),
        ({"problem_text": "q", "solution": TRACE, "answer_number": "5", "answer_type": "Numerical"},
         {"prompt": "problem_text", "completion": "solution", "answer": "answer_number"}),
        ({"problem": "q", "solution": "42", "generation": TRACE},
         {"prompt": "problem", "completion": "generation", "answer": "solution"}),
        ({"question": "Which?", "full": 1, "formatted_question": "Which?\nA) x", "gen_ans": TRACE},
         {"prompt": "formatted_question", "completion": "gen_ans"}),
        ({"question": "q1", "answer": "ash", "Question": "q2", "Complex_CoT": TRACE,
          "Response": "It is ash."},
         {"prompt": "Question", "completion": "Response", "reasoning": "Complex_CoT",
          "answer": "answer"}),
        ({"row_idx": 0, "row": {"question": "q", "response": TRACE, "gold": "5"}},
         {"prompt": "row.question", "completion": "row.response", "answer": "row.gold"}),
        ({"instruction": "q", "context": "c", "response": TRACE},
         {"prompt": "instruction", "context": "context", "completion": "response"}),
        ({"task": "sums", "input": "q", "target": TRACE},
         {"prompt": "input", "completion": "target"}),
        ({"question": "q", "steps": TRACE, "answer": "ash"},
         {"completion": "steps", "answer": "answer"}),
        ({"题目": "q", "解析": TRACE, "答案": "A"},
         {"prompt": "题目", "completion": "解析", "answer": "答案"}),
        ({"指令": "q", "输入": "", "输出": TRACE}, {"prompt": "指令", "completion": "输出"}),
        ({"problem": "q", "solutions": [TRACE], "answers": ["5"]},
         {"prompt": "problem", "completion": "solutions", "answer": "answers"}),
    ],
)  # fmt: skip
def test_keys_by_name_and_content(row: dict[str, Any], found: dict[str, str]) -> None:
    assert keys(row) == {"prompt": "question", **found}


@pytest.mark.parametrize(
    "own",
    [
        {"pred": "B", "answer": "A"},
        {"parsed_answer": "B", "actual_answer": "A"},
        {"prediction": "B", "label": "A"},
        {"answer": "B", "correct_answer": "A"},
        {"answer": "B", "is_correct": False, "actual_answer": "A"},
        {"model_answer": "B", "correct": "A"},
    ],
)
def test_gold_is_never_the_models_own_answer(own: dict[str, Any]) -> None:
    source = read({"question": "q", "response": f"{TRACE}\nThe answer is (B).", **own})
    assert source.answer == "A"


def test_an_answer_that_wrong_traces_end_in_is_no_gold() -> None:
    def row(said: str, answer: str, verdict: Any) -> dict[str, Any]:
        return {"question": "q", "response": f"{TRACE} The answer is ({said}).", "answer": answer,
                "correct": verdict}  # fmt: skip

    own = [row("A", "A", False), row("C", "C", True), row("D", "D", False)]
    gold = [row("A", "B", False), row("C", "C", True), row("D", "A", False)]
    assert "answer" not in keys(*own) and keys(*gold)["answer"] == "answer"
    spelled = [{**r, "correct": str(r["correct"])} for r in own]  # as a table has them
    assert "answer" not in keys(*spelled)


@pytest.mark.parametrize("answer", ["A", "(C)", "72", "yes", "$3.50"])
def test_a_bare_answer_is_no_trace(answer: str) -> None:
    schemas = guess_schemas([{"question": "q", "options": ["a"], "answer": answer}], {})
    assert not schemas.maps and "--map completion=" in schemas.missing
    assert keys({"question": "q", "response": answer})["completion"] == "response"


def test_each_schema_of_a_file_has_its_keys() -> None:
    rows = [{"prompt": "q", "response": TRACE}, {"question": "q", "solution": TRACE},
            {"messages": TURNS}, {"prompt": "q", "response": TRACE, "note": "n"}]  # fmt: skip
    schemas = guess_schemas(rows, {})
    assert [str(fields) for fields in schemas.maps] == [
        "prompt=prompt, completion=response",
        "prompt=question, completion=solution",
        "messages=messages",
    ]
    pairs = [{"problem": "q", "cot": TRACE, "answer": "ash"}, {"prompt": "q", "chosen": TRACE}]
    assert [str(fields) for fields in guess_schemas(pairs, {}).maps] == [
        "prompt=problem, completion=cot, answer=answer",
        "prompt=prompt, completion=chosen",
    ]
    late = {"query": "q", "output": TRACE}
    assert str(schemas.choose(late)) == "prompt=query, completion=output"
    assert schemas.examples[0][0] == ("prompt", "q")


def test_a_given_key_holds_for_every_row() -> None:
    rows = [{"q": "p", "response": TRACE}, {"prompt": "p", "response": TRACE}]
    schemas = guess_schemas(rows, {"prompt": "q"})
    with pytest.raises(DataError, match="missing key 'q'"):
        read_source(JsonLine("a", 2, json.dumps(rows[1])), schemas)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [TURNS[0], {**TURNS[1], "content": [{"type": "text", "text": TRACE}]}]},
        {"messages": json.dumps(TURNS)},
        {"messages": str(TURNS)},
        {"prompt": "q", "choices": [{"index": 0, "message": TURNS[1]}]},
        {"request": {"messages": TURNS[:1]},
         "response": {"body": {"choices": [{"message": TURNS[1]}]}}},
        {"turns": [{"speaker": "User", "text": "q"}, {"speaker": "Assistant", "text": TRACE}]},
        {"conversations": [{"human": "q", "assistant": TRACE}]},
        {"contents": [{"role": "user", "parts": [{"text": "q"}]},
                      {"role": "model", "parts": [{"text": TRACE}]}]},
        {"data": ["q", TRACE], "conversation": ["q", TRACE]},
        {"talk": TURNS},
        {"prompt": "q", "chosen": TURNS, "rejected": BAD},
        {"prompt": "q", "chosen": TURNS[1], "rejected": BAD[1]},
        {"conversations": [{"from": "human", "value": "q"}],
         "chosen": {"from": "gpt", "value": TRACE}, "rejected": {"from": "gpt", "value": "bad"}},
        {"rejected": BAD, "chosen": TURNS},
        {"question": "q", "solution": [TRACE]},
        {"prompt": [{"role": "user", "content": "q"}], "completion": TRACE},
        {"prompt": "q", "completion": json.dumps(TURNS[1])},
        {"question": ["q"], "responses": [[TRACE]]},
    ],
)  # fmt: skip
def test_shapes_of_one_conversation(row: dict[str, Any]) -> None:
    source = read(row)
    assert (source.messages, plain_text(source.trace)) == (
        ({"role": "user", "content": "q"},),
        TRACE,
    )


def test_questions_in_a_list_and_earlier_turns() -> None:
    bench = read({"turns": ["q1", "q2"], "choices": [{"index": 0, "turns": ["a1", TRACE]}]})
    past = read({"instruction": "q2", "input": "", "output": TRACE, "history": [["q1", "a1"]]})
    assert [m["content"] for m in bench.messages] == ["q1", "a1", "q2"]
    assert bench.messages == past.messages
    assert not guess_schemas([{"turns": ["q1", "q2"]}], {}).maps  # two questions, no answer


def test_several_answers_are_rejected() -> None:
    choices = [{"message": TURNS[1]}, {"message": BAD[1]}]
    for row in ({"question": "q", "solution": [TRACE, "x"]}, {"prompt": "q", "choices": choices}):
        with pytest.raises(DataError, match=r"expected one (text|answer), found 2"):
            read(row)


def test_reasoning_stands_once() -> None:
    thought = {"question": "q", "reason": f"<think>\n{TRACE}\n</think>", "gen_ans": "It is ash."}
    assert plain_text(read(thought).trace) == f"<think>\n{TRACE}\n</think>\n\nIt is ash."
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "t"}]
    turns = [TURNS[0], {"role": "assistant", "content": parts}]
    assert plain_text(read({"messages": turns}).trace) == "<think>\nhm\n</think>\n\nt"


@pytest.mark.parametrize(
    "thoughts",
    [
        "<think>Ash?</think>",
        " <think>\n<think>\nAsh?\n</think>\n</think>\n",
        "<thinking>Ash?</thinking>",
        "Ash?</think>",
        "<think>\nAsh?\n",
    ],
)
def test_reasoning_has_one_pair_of_tags(thoughts: str) -> None:
    rows = (
        {"question": "q", "reasoning": thoughts, "response": "Yew."},
        {"messages": [TURNS[0], {**TURNS[1], "reasoning_content": thoughts, "content": "Yew."}]},
    )
    for row in rows:
        assert plain_text(read(row).trace) == "<think>\nAsh?\n</think>\n\nYew."


def test_calls_that_are_turns_of_their_own() -> None:
    call = {"name": "w", "arguments": {"city": "Rome"}}
    turns = [{"from": "human", "value": "q"}, {"from": "function_call", "value": json.dumps(call)},
             {"from": "observation", "value": "21"}, {"from": "gpt", "value": TRACE}]  # fmt: skip
    called = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": call}],
    }
    source = read({"conversations": turns})
    assert source.messages == (TURNS[0], called, {"role": "tool", "content": "21"})
    with pytest.raises(DataError, match="the last answer calls tools"):
        read({"conversations": turns[:2]} | {"x": 1})


@pytest.mark.parametrize(
    ("answer", "gold"),
    [(["C"], "C"), (["A", "C"], "A, C"), ({"value": "5", "aliases": []}, "5"), ("['C']", "C"),
     ("['ash']", "['ash']"), (7, "7"), ("", None), ([], None)],
)  # fmt: skip
def test_shapes_of_a_gold_answer(answer: Any, gold: str | None) -> None:
    assert read({"question": "q", "response": TRACE, "gold": answer}).answer == gold


def test_names_and_paths() -> None:
    assert name_of("Ground-True Answer") == "ground_true_answer"
    assert (
        name_of("generatedText") == "generated_text" and name_of("a.Complex_CoT") == "complex_cot"
    )
    row = {"choices": [{"message": {"content": "t"}}], "a.b": 1, "a": {"b": 2}}
    assert find_value(row, "choices[0].message.content") == "t"
    assert find_value(row, "a.b") == 1 and find_value(row, "choices.1") is None
