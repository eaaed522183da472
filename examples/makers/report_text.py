"""The words and numbers of flood report TR-2026-07. Blocks are parted by empty lines; `#` is a heading, `!` an insert."""

TITLE = "The Wadi Samra flood of 14–15 April 2026: measurement, warning and what failed"
AUTHORS = "Salim Al-Harthi, Ingrid Sahlberg and Maryam Al-Balushi<br/>Report to the Samra Valley Water Directorate"
SUMMARY = """
In the night of 14 April 2026 the largest flood since measurements began in 2011 passed the village of Al Hail. The radar
gauge at the bridge (station TH-OM-003) recorded a peak stage of 6.42 m at 03:50 local time, for which the rating curve gives
1,180 m³/s. The first warning left the upper gorge station (TH-OM-005) at 01:44, two hours and six minutes before the peak, and
the road was closed at 02:50. No life was lost. The upper station then fell silent at 03:12 because of a wrong fuse. This
report describes the storm, the flood, the chain of warning and its weak link, and makes six recommendations.
"""

BODY = """
# 1 The catchment

Wadi Samra drains 684 km² of bare limestone and ophiolite on the inland side of the mountains. Its highest point, Jabal Safra,
is at 2,215 m; the bridge at Al Hail lies at 431 m. Slopes are steep, soils thin or absent, and a heavy shower becomes a
flood within two hours. The main valley narrows to 38 m in the upper gorge, opens into a gravel plain with date gardens at
Al Ayn, and is crossed by the regional road on a bridge of five spans built in 1998.

About 2,900 people live within reach of the water, of whom some 1,100 are in Al Hail itself. The gardens are watered by two
aflaj, both of which take their water from the bed of the wadi and were buried in the flood.

# 2 Instruments

Two stations have been operated by Tarnholm Hydrometry under service agreement TH/OM/2026-02 and its predecessor. Both have an
HG-4 radar gauge, an LX-210 logger, a camera and a siren. Al Hail bridge was installed on 24 September 2019 and replaced a
pressure sensor of the Directorate; the upper gorge, 12.4 km upstream, followed on 11 February 2021. Three tipping-bucket rain
gauges, at Jabal Safra, Al Ayn and Al Hail, belong to the Directorate.

Stages are referred to the station datum, which at Al Hail is 428.614 m above the national levelling datum. Both radars had
been calibrated in Yichang in the month before the flood, under certificates YC-2026-0312 and YC-2026-0313, came back by air
and were re-installed on 10 April; spare instruments had taken their place meanwhile.

# 3 The storm

A trough moved in from the Gulf on 14 April and met moist air from the south-east over the range. Rain began at Jabal Safra at
20:55. In five hours the gauge there collected 118 mm, of which 46 mm fell between 23:00 and midnight; the mean for a whole
year is 164 mm. Al Ayn received 61 mm and Al Hail itself only 9 mm, so that many people in the village went to bed
under a sky with stars.

Weighting the three gauges by Thiessen polygons gives a catchment mean of 74 mm, or 50.6 million cubic metres. The flood carried
16.2 million cubic metres past the bridge up to noon on 16 April, which makes a runoff coefficient of 0.32. That is high for a first
flood after fourteen dry months, and agrees with the crust that silt from the previous flood had left on the plain.

! timeline

# 4 The flood at Al Hail

The bed held a few pools until 23:40, when a thin sheet of water arrived. The stage rose by 1.4 m in the following two hours and by
another three and a half metres in the hour and a half after that. The steepest rise was 0.29 m in five minutes. At its highest the water was
1.08 m below the soffit of the bridge and overtopped the left approach embankment for about fifty minutes.

Three independent observations support the peak. Two flood marks on the left abutment, levelled on 18 April, stand at 6.39 m and
6.45 m. The camera shows the water at the lower edge of a painted sign whose height, surveyed later, is 6.40 m. The
spread of the radar's forty samples around the peak was 71 mm, caused by standing waves, and readings with such a spread carry
the flag S.

Floating trees struck the second pier at least four times. The largest that was found afterwards measured 14.2 m and lay across
the downstream apron.

! hydrograph

# 5 Discharge

Curve OM003-04 has two segments and has been in force since 1 March 2024. It was extended above the highest gauging of that time,
3.71 m, by a survey of the section and the energy slope between four cross-sections. The flood was the first occasion to test
the extension. At 05:10, on the falling limb, Salim Al-Harthi measured the surface velocity from the right approach with the FV-2
in eleven verticals. The mean surface velocity was 5.9 m/s; with the coefficient of 0.86 and a wetted section of 160 m² the
discharge was 812 m³/s at a stage of 5.20 m, nine per cent more than the curve.

! gaugings

We therefore keep the curve, and state the peak as 1,180 m³/s with an uncertainty of fifteen per cent. The next survey of the
section, which the flood has scoured by up to 0.7 m near the second pier, is planned for October 2026.

A peak of this size was estimated in the design of the bridge to return once in 120 years. With the record lengthened by this
event, a fit of the generalised extreme value distribution to fifteen annual maxima gives 65 years, with limits so wide
(28 to 310 years) that we advise against quoting any single number in public.

# 6 The warning

The upper gorge passed its alert level of 3.00 m at 01:44. The message reached the control room in Muscat after 38 seconds and
the duty desk in Östersund after 41. The desk compared the camera image, found water from wall to wall, and confirmed
at 01:51. The control room called the wali of Al Hail at 01:58 and the police post at 02:04.

! rating

Al Hail passed its own alert level at 02:31; the fast interval being five minutes, the message was sent at 02:35. The police
closed the bridge at 02:50 with 31 vehicles held on the two sides. The siren at the bridge sounded from 03:00, when the first
reading above the alarm level of 4.50 m was in. By then nearly all families near the bed had gone to the school, which
counted 412 people at 03:30.

The travel time of the flood wave between the stations was 47 minutes. That is the whole margin for those who wait for the
siren, and less than the 70 minutes that had been printed on the leaflet of 2022.

# 7 What failed

The upper gorge station sent its last batch at 03:12 with a stage of 5.87 m. It was found at 09:30 with a burnt 5 A blade fuse in
a holder meant for 10 A. A sub-contractor had fitted it on 3 February 2026 for want of the right one, and recorded it in the log
book. Nobody at Tarnholm acted on the entry. With siren, modem and radar at work together the logger's supply carries 6.3 A; a
5 A fuse stands this for some minutes, on a hot night for fewer.

The failure came after the warning had been given and cost data only: six hours and twenty-eight minutes at the upper
station. Had the storm come in two pulses, as in 2018, the second would have arrived unannounced. We regard the event as
a near miss and filed it as QS-2026-018.

A second fault was found by chance. Firmware 3.8.1 can lose readings while the modem registers anew. Comparison with the logger's
memory showed that 23 readings had not reached the server from Al Hail during the night. None was near the peak. Firmware
3.8.2, released on 29 April, cures this.

# 8 Recommendations

(1) The value of the main fuse becomes part of the visit form, and a station on another value is shown amber. Done on 29 April.

(2) A daily load test in the logger. Done with firmware 3.8.2.

(3) A third station at Al Ayn, between the two, so that no single fault leaves the village without early warning. The
estimate is OMR 27,350, and the Directorate has approved it for October 2026.

(4) The leaflet is printed again with a travel time of 47 minutes.

(5) The left approach embankment is protected with gabions over 60 m before the next wet season. The bridge authority is
responsible.

(6) The siren is tested on the first Sunday of each month at ten in the morning, so that its sound is known.

# 9 Costs

The flood cost the operator OMR 12,689.100 (Table 3), of which the shipment of spares is by far the largest part. Under
clause 6.3 of the service agreement the Directorate bears half of the repair, OMR 922.750, since the stage at Al Hail exceeded
5.00 m. The Directorate has accepted this in its letter of 2 June.

! costs

The costs of the road, the aflaj and the gardens are outside our knowledge. The Directorate received claims from 143 households
up to the end of May and will publish the total itself.

! break

# 10 Data

Readings of both stations are deposited under the identifier THD-2026-0415-WS, version 2. The series from Al Hail is complete. At
the upper gorge the values from 03:12 to 09:40 are estimated from Al Hail with a shift of 47 minutes and carry the flag E;
they must not be used for calibrating a flood routing model.

# Thanks

We thank the people of Al Hail, the police post, and Khalfan Al-Amri, headmaster, who opened the school before
anybody asked him to.

# References

[1] Tarnholm Hydrometry: Rating sheet OM003-04, 27 February 2024.

[2] Samra Valley Water Directorate: Public notice SV-2026-114, 3 May 2026.

[3] Tarnholm Hydrometry: Incident QS-2026-018, closed 22 May 2026.

[4] Service agreement TH/OM/2026-02, Annex A, stations and levels.
"""

TIMELINE_CAPTION = "<b>Table 1.</b> Course of the night. Times are local."
TIMELINE = [
    ["Time", "Place", "Event"],
    ["20:55", "Jabal Safra", "Rain begins"],
    ["23:40", "Al Hail bridge", "First water in the bed"],
    ["01:44", "Upper gorge", "Alert, 3.00 m; message sent"],
    ["01:58", "Control room", "Wali of Al Hail informed by telephone"],
    ["02:31", "Al Hail bridge", "Alert level, 3.20 m"],
    ["02:50", "Al Hail bridge", "Road closed by police"],
    ["03:00", "Al Hail bridge", "Siren starts"],
    ["03:12", "Upper gorge", "Last reading before loss of power, 5.87 m"],
    ["03:50", "Al Hail bridge", "Peak, 6.42 m"],
    ["05:10", "Al Hail bridge", "Gauging with FV-2 at 5.20 m"],
    ["09:40", "Upper gorge", "Station back, 2.74 m and falling"],
]

GAUGINGS_CAPTION = "<b>Table 2.</b> Highest gaugings at Al Hail bridge against curve OM003-04."
GAUGINGS = [
    ["Date", "Method", "Stage (m)", "Q (m³/s)", "Off curve"],
    ["2020-11-19", "Profiler", "2.31", "101", "−6 %"],
    ["2021-10-04", "Profiler", "2.35", "112", "−1 %"],
    ["2024-02-11", "FV-2", "3.71", "338", "−3 %"],
    ["2026-04-15", "FV-2", "5.20", "812", "+9 %"],
]

HYDROGRAPH_CAPTION = "<b>Figure 1.</b> Stage at Al Hail bridge, readings every five minutes above 1.50 m."
RATING_CAPTION = "<b>Figure 2.</b> Rating curve OM003-04 and the gaugings; the filled one is from the flood."

COSTS_CAPTION = "<b>Table 3.</b> Costs of the flood to the operator, in Omani rials."
COSTS = [
    ["Item", "Amount (OMR)"],
    ["Fence, mast guy and track at the upper gorge", "1,845.500"],
    ["Spare instruments, invoice INV-2026-0831", "7,593.600"],
    ["Additional visits in April and May", "2,310.000"],
    ["Survey of flood marks and section", "940.000"],
    ["Sum", "12,689.100"],
]
