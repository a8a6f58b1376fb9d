"""Every error that Palier raises on purpose, as one tree.

    PalierError
    ├── InputError              the caller's documents, questions or files are wrong: mend them
    │   ├── DataGateError       documents or golden questions that must not be trained on
    │   └── ParamsError         params.yaml, or a command's argument
    ├── MissingToolError        a program that must be installed first
    ├── NotReadyError           an earlier stage has not run, or a release does not exist yet
    ├── ServiceError            a service that Palier talks to is away or refuses
    │   ├── PortTakenError      somebody else listens where the service should
    │   ├── SearchError         Elasticsearch
    │   ├── TrackingError       MLflow
    │   └── ModelEndpointError  a rung's endpoint
    ├── IntegrityError          a file is not the one that was promised (checksum, manifest)
    └── RolloutError            a release command that the rollout's state forbids

A message says what happened, the value, and the remedy; no message holds a secret.
HTTP status codes are not here: they live in ``serving/problems.py``.
"""


class PalierError(Exception):
    """Root of all errors that are raised on purpose; its text is meant for the person in front."""


class InputError(PalierError):
    """What the caller gave is wrong."""


class DataGateError(InputError):
    """Documents or golden questions fail the data gate; the message lists each finding."""


class ParamsError(InputError):
    """A value in ``params.yaml`` or an argument is missing, unknown or out of range."""


class MissingToolError(PalierError):
    """A program outside Python is missing; the message names how to get it."""


class NotReadyError(PalierError):
    """Something that an earlier command makes is not there yet; the message names that command."""


class ServiceError(PalierError):
    """A service is away, refuses, or does not start."""


class PortTakenError(ServiceError):
    """The port of a service is in use by another program."""


class SearchError(ServiceError):
    """Elasticsearch is away or refused a request."""


class TrackingError(ServiceError):
    """MLflow is away or refused a request."""


class ModelEndpointError(ServiceError):
    """The endpoint of a rung is away or refused a request: the heavy rung's, or the writer's own llama.cpp."""


class IntegrityError(PalierError):
    """A file differs from its recorded sha256, or a manifest is not valid."""


class RolloutError(PalierError):
    """A release command that does not fit the state of the rollout."""
