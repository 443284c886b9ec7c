"""The vocabulary: record layouts, messages, instruments and settings. Imports nothing of operators or flows."""

from schemas.compiled import use_own_cache

use_own_cache()
