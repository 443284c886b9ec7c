"""Book: an account's decisions slice by slice, and the driver that steps venue and book in turn."""

from operators.book.book import Book
from operators.book.book_stage import BookStage
from operators.book.desk import Desk, Report
from operators.book.driver import AccountStage
from operators.book.entrance import Wish
from operators.book.rows import RowBook

__all__ = ["AccountStage", "Book", "BookStage", "Desk", "Report", "RowBook", "Wish"]
