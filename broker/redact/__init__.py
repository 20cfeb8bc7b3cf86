"""What may leave: results narrowed to what a tool declares and a decision obliges to, never a credential's own text."""

from broker.redact.bounds import UNBOUNDED, Bounds, bounded
from broker.redact.leaving import Matcher, Released, narrow, release, scrub

__all__ = ["UNBOUNDED", "Bounds", "Matcher", "Released", "bounded", "narrow", "release", "scrub"]
