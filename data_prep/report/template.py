"""Templates of pages that open offline: text from data is escaped, and a name without a value is an error."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


@cache
def page_template(package: str) -> Template:
    """The template `page.html` of a package."""
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Keys of JSON keep their order: Bokeh's objects are defined at their first occurrence.
    environment.policies["json.dumps_kwargs"] = {}
    return environment.get_template("page.html")
