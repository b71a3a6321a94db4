"""What the gateway tells about itself: mail log, metrics, decision records, health.

Public API of the room. A worker builds a :class:`MailLog`, :class:`Metrics` and :class:`DecisionRecords` and hands them
to its pipeline as one :class:`Observers`; the supervisor builds a :class:`MailLog`, :class:`Health`,
:class:`SupervisorMetrics` and :class:`WebServer`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry as Registry

from gateway.observe.events import ObservedJournal, Observers
from gateway.observe.labels import CertificateUse
from gateway.observe.libraries import adopt
from gateway.observe.lines import LogFormat
from gateway.observe.maillog import MailLog
from gateway.observe.metrics import Metrics
from gateway.observe.records import DecisionRecords, find_record
from gateway.observe.supervisor import Health, SupervisorMetrics, WorkerState
from gateway.observe.text import printable
from gateway.observe.web import WebServer
from gateway.observe.why import render

__all__ = [
    "CertificateUse",
    "DecisionRecords",
    "Health",
    "LogFormat",
    "MailLog",
    "Metrics",
    "ObservedJournal",
    "Observers",
    "Registry",
    "SupervisorMetrics",
    "WebServer",
    "WorkerState",
    "adopt",
    "find_record",
    "printable",
    "render",
]
