"""A study once more, on seeds and a split that it has not seen: what a replication changes, and no more."""

from pydantic import ValidationError

from benchmark.base.errors import InputError
from benchmark.contract import replication_name
from benchmark.study.spec import StudySpec


def replication_of(study: StudySpec, number: int) -> StudySpec:
    """The replication of a study that has this number: the same one whenever it is asked for.

    Its seeds follow those of the replication before it, so that no two of them share a seed; its split into
    training and validation images is another. Its name is its own: what was found of the study stays.

    Args:
        study: what is replicated.
        number: from 1.

    Raises:
        InputError: there are no seeds left.
    """
    seeds = study.seeds
    first = seeds.first + number * max(seeds.sweep, seeds.confirm)
    document = study.model_dump()
    document["name"] = replication_name(study.name, number)
    document["seeds"]["first"] = first
    if study.data.validation == "split":
        document["data"]["split_seed"] += number
    try:
        return StudySpec.model_validate(document)
    except ValidationError as error:
        raise InputError(
            f"replication {number} of {study.name}: expected unused seeds, found none: its first would be "
            f"{first} ({error.errors()[0]['msg']})"
        ) from None
