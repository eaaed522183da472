"""The two figures of the flood report, drawn as vectors: the hydrograph and the rating curve with its gaugings."""

from dataclasses import dataclass
from datetime import timedelta

from reportlab.lib import colors
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable

from . import readings

BLUE = colors.HexColor("#1f6fb2")
GREY = colors.HexColor("#c3cad3")
AMBER = colors.HexColor("#d98a00")
RED = colors.HexColor("#b3261e")
GAUGED = ((0.74, 6.6), (1.12, 18.7), (1.66, 43.9), (2.31, 101.0), (2.35, 112.0), (3.71, 338.0), (5.20, 812.0))


@dataclass(frozen=True, slots=True)
class Axes:
    """A plot area in points and the range of values that fills it."""

    left: float
    bottom: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom + self.height * (value - low) / (high - low)


class Hydrograph(Flowable):
    """Stage at Al Hail bridge from 22:00 on 14 April, with the alert and alarm levels."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self.width, self.height = width, 165.0

    def wrap(self, _width: float, _height: float) -> tuple[float, float]:
        return self.width, self.height

    def draw(self) -> None:
        canvas: Canvas = self.canv
        axes = Axes(28, 26, self.width - 34, self.height - 34, (0, 16), (0, 7))
        start = readings.START + timedelta(hours=4)
        labels = [(hour, f"{(22 + hour) % 24:02d}:00") for hour in range(0, 17, 2)]
        _frame(
            canvas,
            axes,
            labels,
            [(stage, str(stage)) for stage in range(8)],
            "local time, 14-15 April 2026",
            "stage (m)",
        )
        for level, name, colour in ((3.2, "alert 3.20 m", AMBER), (4.5, "alarm 4.50 m", RED)):
            canvas.setStrokeColor(colour)
            canvas.setFillColor(colour)
            canvas.setDash(3, 2)
            canvas.line(axes.x(0), axes.y(level), axes.x(16), axes.y(level))
            canvas.setDash()
            canvas.drawString(axes.x(0.2), axes.y(level) + 2, name)
        points = [
            ((row.time - start).total_seconds() / 3600, row.stage)
            for row in readings.rows()
            if start <= row.time <= start + timedelta(hours=16)
        ]
        _line(canvas, axes, points)
        canvas.setFillColor(colors.black)
        canvas.drawString(axes.x(6.3), axes.y(6.42), "peak 6.42 m at 03:50")


class Rating(Flowable):
    """Curve OM003-04 with the gaugings that support it."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self.width, self.height = width, 150.0

    def wrap(self, _width: float, _height: float) -> tuple[float, float]:
        return self.width, self.height

    def draw(self) -> None:
        canvas: Canvas = self.canv
        axes = Axes(32, 26, self.width - 38, self.height - 34, (0, 7), (0, 1400))
        ticks = [(flow, f"{flow:,}") for flow in range(0, 1401, 200)]
        _frame(canvas, axes, [(stage, str(stage)) for stage in range(8)], ticks, "stage (m)", "discharge (m³/s)")
        low = [(h, 29.5 * (h - 0.35) ** 1.62) for h in (0.35 + 0.05 * i for i in range(30)) if h < 1.8]
        high = [(h, 39.0 * (h - 0.62) ** 1.94) for h in (1.8 + 0.1 * i for i in range(48))]
        _line(canvas, axes, low + high)
        for stage, flow in GAUGED:
            canvas.setFillColor(AMBER if stage == 5.20 else colors.white)
            canvas.setStrokeColor(colors.black)
            canvas.circle(axes.x(stage), axes.y(flow), 2.2, fill=1)
        canvas.setFillColor(colors.black)
        canvas.drawRightString(axes.x(5.05), axes.y(830), "FV-2, 15 April 2026")


def _frame(
    canvas: Canvas,
    axes: Axes,
    x_ticks: list[tuple[float, str]],
    y_ticks: list[tuple[float, str]],
    x_name: str,
    y_name: str,
) -> None:
    canvas.setFont("Helvetica", 6.5)
    canvas.setLineWidth(0.4)
    canvas.setStrokeColor(GREY)
    canvas.setFillColor(colors.black)
    for value, label in y_ticks:
        canvas.line(axes.left, axes.y(value), axes.left + axes.width, axes.y(value))
        canvas.drawRightString(axes.left - 3, axes.y(value) - 2, label)
    for value, label in x_ticks:
        canvas.line(axes.x(value), axes.bottom, axes.x(value), axes.bottom + axes.height)
        canvas.drawCentredString(axes.x(value), axes.bottom - 9, label)
    canvas.setStrokeColor(colors.black)
    canvas.rect(axes.left, axes.bottom, axes.width, axes.height)
    canvas.drawCentredString(axes.left + axes.width / 2, axes.bottom - 20, x_name)
    canvas.saveState()
    canvas.translate(6, axes.bottom + axes.height / 2)
    canvas.rotate(90)
    canvas.drawCentredString(0, 0, y_name)
    canvas.restoreState()


def _line(canvas: Canvas, axes: Axes, points: list[tuple[float, float]]) -> None:
    path = canvas.beginPath()
    path.moveTo(axes.x(points[0][0]), axes.y(points[0][1]))
    for x, y in points[1:]:
        path.lineTo(axes.x(x), axes.y(y))
    canvas.setStrokeColor(BLUE)
    canvas.setLineWidth(1.3)
    canvas.drawPath(path)
    canvas.setLineWidth(0.4)
