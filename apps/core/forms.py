"""Forms of the console: one form is one operation, its fields are what the operation takes."""

from datetime import UTC, datetime
from typing import Any

from django import forms
from unfold import widgets

from apps.core.actor import Actor
from apps.core.errors import InvalidInput

_STYLED: tuple[tuple[type[forms.Widget], type[forms.Widget]], ...] = (
    (forms.EmailInput, widgets.UnfoldAdminEmailInputWidget),
    (forms.NumberInput, widgets.UnfoldAdminIntegerFieldWidget),
    (forms.CheckboxSelectMultiple, widgets.UnfoldAdminCheckboxSelectMultipleWidget),
    (forms.CheckboxInput, widgets.UnfoldBooleanSwitchWidget),
    (forms.Select, widgets.UnfoldAdminSelectWidget),
    (forms.ClearableFileInput, widgets.UnfoldAdminFileFieldWidget),
    (forms.Textarea, widgets.UnfoldAdminTextareaWidget),
    (forms.TextInput, widgets.UnfoldAdminTextInputWidget),
)


class UtcDateTimeField(forms.DateTimeField):
    """A time in UTC to the second, by the browser's own picker, so that no script is needed."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("help_text", "UTC")
        super().__init__(
            widget=widgets.UnfoldAdminTextInputWidget(attrs={"type": "datetime-local", "step": "1"}),
            input_formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"],
            **options,
        )

    def prepare_value(self, value: Any) -> Any:
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") if isinstance(value, datetime) else value


class OperationForm(forms.Form):
    """Checks shape, then runs its operation. Rights, locks and limits are the operation's own.

    `parent` is what something is made in; `instance` what is changed. `row_version` travels with
    the page, so that a write on a page that somebody else's write made old is refused.
    """

    title = ""
    submit_label = "Save"
    # Whether opening the form already asks for presence: what it makes is shown once.
    needs_presence = False

    def __init__(
        self,
        *args: Any,
        actor: Actor,
        parent: Any = None,
        instance: Any = None,
        **options: Any,
    ) -> None:
        self.actor, self.parent, self.instance = actor, parent, instance
        super().__init__(*args, **options)
        self.prepare()
        for name, field in self.fields.items():
            self._style(name, field)

    def prepare(self) -> None:
        """Adapt fields to actor, parent and instance before they are drawn."""

    def _style(self, name: str, field: forms.Field) -> None:
        plain = field.widget
        for before, after in _STYLED:
            if type(plain) is before:
                kept: dict[str, Any] = {"attrs": plain.attrs}
                if isinstance(plain, forms.Select | forms.RadioSelect | forms.CheckboxSelectMultiple):
                    kept["choices"] = plain.choices
                field.widget = after(**kept)
                field.widget.is_required = field.required
                break
        if field.help_text:
            field.widget.attrs["aria-describedby"] = f"id_{name}_helptext"

    def operate(self) -> Any:
        """Run the operation with `cleaned_data`; return what it made."""
        raise NotImplementedError(type(self))

    def add_refusal(self, errors: InvalidInput) -> None:
        """Show the operation's messages at the fields that they name."""
        for name, messages in errors.errors.items():
            field = name if name in self.fields else None
            for message in messages:
                self.add_error(field, message if field or not name else f"{name}: {message}")
