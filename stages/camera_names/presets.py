"""Presets: how families of cameras, recorders, phones and tools name their pictures.

Each has the lines to pass over first and then its patterns from special to general. A preset whose pictures do not name
their device needs a constant one in the entry that names the preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Preset:
    """``entries`` as they would be written in a list of names; ``examples`` are paths that they read."""

    title: str
    entries: tuple[Mapping[str, object], ...]
    examples: tuple[str, ...]


def _ignored(*patterns: str) -> tuple[Mapping[str, object], ...]:
    return tuple({"pattern": pattern, "ignore": True} for pattern in patterns)


PRESETS: Final[Mapping[str, Preset]] = {
    "reolink": Preset(
        title="Reolink cameras and recorders",
        entries=({"pattern": "{device}_{time:%Y%m%d%H%M%S}.jpg"},),
        examples=(
            "camera-a/2022/11/15/camera-a_01_20221115233531.jpg",
            "Front Door_20210101120000.jpg",
        ),
    ),
    "hikvision": Preset(
        title="Hikvision",
        entries=({"pattern": "{device}_{time:%Y%m%d%H%M%S%3f}_{event}.jpg"},),
        examples=(
            "192.168.1.64_01_20190306121007711_MOTION_DETECTION.jpg",
            "gg_733804851_20190319124752348_MOTION_DETECTION.jpg",
        ),
    ),
    "hikvision-anpr": Preset(
        title="Hikvision, number plates",
        entries=({"pattern": "{device}/{time:%Y%m%d%H%M%S%3f}_*.jpg"},),
        examples=("Driveway/20260108141528320_J23TST_VEHICLE_DETECTION.jpg",),
    ),
    "dahua": Preset(
        title="Dahua, Amcrest and Lorex",
        entries=(
            *_ignored("**/DVRWorkDirectory", "**/*.idx"),
            {"pattern": "**/{device}/{time:%Y-%m-%d}/*/jpg/{time:%H}/{time:%M}/{time:%S}[{event}][0@0][{seq}].jpg"},
            {"pattern": "**/{device}/{time:%Y-%m-%d}/pic_*/{time:%H.%M.%S}[{event}][0@0][{seq}].jpg"},
            {"pattern": "{device}/Snapshot/{time:%Y-%m-%d}_*_{time:%H.%M.%S}-*.jpg"},
            {"pattern": "**/{device}/{time:%Y-%m-%d}/*/jpg/{time:%H}/{time:%M.%S}[{event}][0@0][{seq}].jpg"},
        ),
        examples=(
            "b1/AMC002A3_K2G7HH/2018-02-25/001/jpg/18/09/42[M][0@0][0].jpg",
            "4H05C95PAA07D83/2018-10-17/pic_001/15.39.01[R][0@0][0].jpg",
            "4L0AAA9PAG0A879/Snapshot/2019-06-12_001_12.59.55-12.59.55[R][0@0][0].jpg",
            "sippe3/Sippe3/2023-09-04/001/jpg/13/28.47[M][0@0][0].jpg",
        ),
    ),
    "foscam": Preset(
        title="Foscam, H.264 models",
        entries=({"pattern": "{device}/*/snap/{event}_{time:%Y%m%d-%H%M%S}.jpg"},),
        examples=("front/FoscamCamera_00626EFE8B21/snap/MDAlarm_20260925-021400.jpg",),
    ),
    "foscam-mjpeg": Preset(
        title="Foscam, MJPEG models",
        entries=({"pattern": "*({device})_*_{time:%Y%m%d%H%M%S}_{seq}.jpg"},),
        examples=("00626E44C831(house)_1_20150209134121_2629.jpg",),
    ),
    "hi3510": Preset(
        title="hi3510 family of many brands, such as EasyN",
        entries=(
            *_ignored("**/imgdata.db"),
            {"pattern": "{device}/*/images*/{event}{time:%y%m%d%H%M%S}{seq:2}.jpg"},
        ),
        examples=("yard/20251020/images000/A25102006312300.jpg",),
    ),
    "vivotek": Preset(
        title="Vivotek and 4XEM",
        entries=(
            {"pattern": "{device}_{time:%Y%m%d%H%M%S}_{seq}_{event}.jpg"},
            {"pattern": "{device}_{time:%Y%m%d_%H%M%S}_{seq}.jpg"},
            {"pattern": "{device}_{time:%Y%m%d%H%M%S}.jpg"},
        ),
        examples=(
            "front_20050107180653_1_pre.jpg",
            "0002D1000000_20240101_123456_1.jpg",
            "front_20050107175903.jpg",
        ),
    ),
    "acti": Preset(
        title="ACTi, by macros",
        entries=({"pattern": "{device}_{time:%Y_%m_%d@%H%M%S}.jpg"},),
        examples=("Front_Door_2009_06_05@225030.jpg",),
    ),
    "level-one": Preset(
        title="Level One, by macros",
        entries=({"pattern": "{device}/Img_{time:%Y-%m-%d}/Snap_{time:%H%M%S_%3f}_{seq}.jpg"},),
        examples=("gate/Img_2010-08-10/Snap_103130_421_2.jpg",),
    ),
    "abus": Preset(
        title="ABUS, Mega-Pix",
        entries=({"pattern": "{device}_{time:%Y%m%d_%H%M%S}.jpg"},),
        examples=("ABUS_20091115_164501.jpg",),
    ),
    "geovision": Preset(
        title="GeoVision",
        entries=({"pattern": "{device}/*/*/*/{event}_{time:%Y-%m-%d-%H-%M-%S-%3f}_{seq}.jpg"},),
        examples=("00-18-ae-a8-da-2a/VFD/2021-01-09/14/VFD_2021-01-09-14-23-45-678_001.jpg",),
    ),
    "quasar": Preset(
        title="Quasar and other OEM",
        entries=({"pattern": "{device}/image{time:%y%m%d_%H%M%S}_{seq}.jpg"},),
        examples=("hall/image240101_123456_07.jpg",),
    ),
    "sony": Preset(
        title="Sony SNC",
        entries=({"pattern": "{device}/image{time:%y%m%d%H%M%S}{seq:2}.jpg"},),
        examples=("door/image24010112345601.jpg",),
    ),
    "weichu": Preset(
        title="WeiChu and other OEM",
        entries=({"pattern": "{device}-{time:%Y%m%d-%H%M%S}.jpg"},),
        examples=("prefix-20080809-060905.jpg",),
    ),
    "axis-fixedit": Preset(
        title="Axis with the FixedIT agent",
        entries=(
            *_ignored("*.json"),
            {"pattern": "{device}/{time:%Y-%m-%d}/timelapse-{time:%H-%M-%S}.jpg", "zone": "UTC"},
        ),
        examples=("ACCC8E012345/2025-11-29/timelapse-10-38-33.jpg",),
    ),
    "spypoint-cloud": Preset(
        title="Spypoint cloud, large pictures",
        entries=(
            *_ignored("*_S_*.jpg", "*_M_*.jpg"),
            {"pattern": "{device}/*/PICT{seq}_?_{time:%Y%m%d%H%M}?????.jpg", "zone": "UTC"},
        ),
        examples=("66985496c6eb10dbad5c51f6/20240717/PICT0001_L_202407172350OQVSP.jpg",),
    ),
    "motion": Preset(
        title="Motion",
        entries=(
            *_ignored("lastsnap.jpg", "*-??m.jpg", "*-??r.jpg"),
            {"pattern": "{device}/*-{time:%Y%m%d%H%M%S}-snapshot.jpg"},
            {"pattern": "{device}/*-{time:%Y%m%d%H%M%S}-{seq}.jpg"},
        ),
        examples=(
            "porch/84-20220916202959-snapshot.jpg",
            "porch/01-20240101120000-00.jpg",
        ),
    ),
    "motioneye": Preset(
        title="motionEye",
        entries=(
            *_ignored("*.thumb"),
            {"pattern": "{device}/{time:%Y-%m-%d}/{time:%H-%M-%S}.jpg"},
        ),
        examples=("Camera1/2020-03-12/01-36-01.jpg",),
    ),
    "zoneminder": Preset(
        title="ZoneMinder",
        entries=(
            *_ignored("snapshot.jpg", "alarm.jpg", "*-analyse.jpg"),
            {
                "pattern": "events/{device}/{time:%y}/{time:%m}/{time:%d}/{time:%H}/{time:%M}/{time:%S}/"
                "{seq}-capture.jpg"
            },
            {"pattern": "events/{device}/**/{seq}-capture.jpg", "time": "exif"},
        ),
        examples=(
            "events/3/24/01/15/14/30/05/00001-capture.jpg",
            "events/3/2024-01-15/12345/00001-capture.jpg",
        ),
    ),
    "blue-iris": Preset(
        title="Blue Iris",
        entries=({"pattern": "{device}.{time:%Y%m%d_%H%M%S%3f}.jpg"},),
        examples=("Garage.20210705_122648771.jpg",),
    ),
    "frigate": Preset(
        title="Frigate up to 0.16",
        entries=({"pattern": "{device}-{time:%s.%f}-*.jpg"},),
        examples=("clips/front_door-1718987129.308396-fqk5ka.jpg",),
    ),
    "ispy": Preset(
        title="iSpy and Agent DVR",
        entries=({"pattern": "**/{device}/grabs/{time:%Y-%m-%d_%H-%M-%S_%3f}.jpg"},),
        examples=("video/ABCDE/grabs/2024-01-01_12-34-56_789.jpg",),
    ),
    "shinobi": Preset(
        title="Shinobi, time lapse",
        entries=({"pattern": "*/{device}_timelapse/*/{time:%Y-%m-%dT%H-%M-%S}.jpg"},),
        examples=("qwerty/m1_timelapse/2024-01-01/2024-01-01T12-34-56.jpg",),
    ),
    "home-assistant": Preset(
        title="Home Assistant",
        entries=(
            {"pattern": "{device}.{time:%s.%f}.jpg"},
            {"pattern": "{device}_{time:%Y%m%d-%H%M%S}.jpg"},
        ),
        examples=(
            "yourcamera.1512579138.00433.jpg",
            "yourcamera_20240101-123456.jpg",
        ),
    ),
    "scrypted": Preset(
        title="Scrypted, Advanced Notifier",
        entries=({"pattern": "events/{device}/**/{time:%Q}.jpg"},),
        examples=("events/Agathe/rules/nuit/generated/1757451692562.jpg",),
    ),
    "synoai": Preset(
        title="SynoAI",
        entries=({"pattern": "{device}/*_{time:%Y_%m_%d_%H_%M_%S_%f}_*.jpg"},),
        examples=("Driveway/Driveway_2021_12_29_14_05_09_12_Person.jpeg",),
    ),
    "wyze-bridge": Preset(
        title="docker-wyze-bridge",
        entries=({"pattern": "{device}/{time:%Y-%m-%d}/{time:%H-%M}.jpg"},),
        examples=("front/2024-01-01/12-30.jpg",),
    ),
    "yi": Preset(
        title="Yi with yi-hack",
        entries=(
            {"pattern": "{device}/record/{time:%YY%mM%dD%HH}/{time:%MM%SS}*.jpg", "zone": "UTC"},
            {"pattern": "{device}/timelapse/{time:%Y-%m-%d_%H-%M-%S}.jpg"},
        ),
        examples=(
            "yi1/record/2021Y07M05D14H/11M10S50.jpg",
            "yi1/timelapse/2021-07-05_14-11-00.jpg",
        ),
    ),
    "arlo": Preset(
        title="Arlo by pyaarlo",
        entries=({"pattern": "{device}/{time:%Y}/{time:%m}/{time:%d}/{time:%H%M%S}.jpg"},),
        examples=("AB12/2024/01/01/123456.jpg",),
    ),
    "unifi": Preset(
        title="UniFi Protect time-lapse tool",
        entries=({"pattern": "{device}_{time:%s}.jpg"},),
        examples=("out/60s/2025/06/01/front_door_1748772000.jpg",),
    ),
    "esp32-ftp": Preset(
        title="ESP32, esp-idf-ftp-camera",
        entries=({"pattern": "{device}/{time:%Y%m%d-%H%M%S}_*.jpg"},),
        examples=("esp1/20210520-165740_800x600.jpg",),
    ),
    "esp32-mjpeg2sd": Preset(
        title="ESP32-CAM_MJPEG2SD",
        entries=({"pattern": "{device}/*/{time:%Y%m%d_%H%M%S}.jpg"},),
        examples=("esp1/20240101_123000/20240101_123456.jpg",),
    ),
    "rpicam": Preset(
        title="rpicam-still",
        entries=(
            {"pattern": "{device}/{time:%s}.jpg"},
            {"pattern": "{device}/image{seq}.jpg", "time": "exif"},
        ),
        examples=(
            "pi/1704105296.jpg",
            "pi/image0001.jpg",
        ),
    ),
    "rpi-cam-web": Preset(
        title="RPi_Cam_Web_Interface",
        entries=(
            *_ignored("*.th.jpg"),
            {"pattern": "media/im_{seq}_{time:%Y%m%d_%H%M%S}.jpg"},
        ),
        examples=("media/im_0001_20240101_123456.jpg",),
    ),
    "pi-timolo": Preset(
        title="pi-timolo",
        entries=({"pattern": "**/mo-{device}-{time:%Y%m%d-%H%M%S}.jpg"},),
        examples=("media/motion/mo-cam1-20201220-114605.jpg",),
    ),
    "naturewatch": Preset(
        title="Naturewatch",
        entries=(
            *_ignored("thumb_*"),
            {"pattern": "photos/{time:%Y-%m-%d-%H-%M-%S}.jpg", "zone": "UTC"},
        ),
        examples=("photos/2021-02-25-10-11-12.jpg",),
    ),
    "allsky": Preset(
        title="Allsky",
        entries=(
            *_ignored("**/thumbnails/**"),
            {"pattern": "images/*/image-{time:%Y%m%d%H%M%S}.jpg"},
        ),
        examples=("images/20230101/image-20230102013000.jpg",),
    ),
    "phenocam": Preset(
        title="PhenoCam",
        entries=(
            *_ignored("*_IR_*"),
            {"pattern": "{device}_{time:%Y_%m_%d_%H%M%S}.jpg", "zone": "-05:00"},
        ),
        examples=("harvard_2008_04_04_040140.jpg",),
    ),
    "foto-webcam": Preset(
        title="foto-webcam.eu",
        entries=({"pattern": "webcam/{device}/{time:%Y}/{time:%m}/{time:%d}/{time:%H%M}_la.jpg"},),
        examples=("webcam/lienz/2024/01/15/1430_la.jpg",),
    ),
    "bushnell": Preset(
        title="Bushnell, older",
        entries=({"pattern": "{device}/DCIM/*/????{seq:4}.jpg", "time": "exif"},),
        examples=("yard/DCIM/100EK113/09110285.JPG",),
    ),
    "browning": Preset(
        title="Browning",
        entries=({"pattern": "{device}/DCIM/*/IMG_{seq}.jpg", "time": "exif"},),
        examples=("0801/DCIM/100_BTCF/IMG_0013.JPG",),
    ),
    "reconyx": Preset(
        title="Reconyx",
        entries=({"pattern": "{device}/DCIM/*/RCNX{seq}.jpg", "time": "exif"},),
        examples=("CAM-F01/DCIM/100RECNX/RCNX0001.JPG",),
    ),
    "spypoint": Preset(
        title="Spypoint, from the card",
        entries=({"pattern": "{device}/DCIM/*/PICT{seq}.jpg", "time": "exif"},),
        examples=("AK01/DCIM/100DSCIM/PICT0001.JPG",),
    ),
    "stealth-cam": Preset(
        title="Stealth Cam",
        entries=({"pattern": "{device}/DCIM/*/STC_{seq}.jpg", "time": "exif"},),
        examples=("C3/DCIM/100STLTH/STC_0001.JPG",),
    ),
    "moultrie": Preset(
        title="Moultrie",
        entries=({"pattern": "{device}/MFDC{seq}.jpg", "time": "exif"},),
        examples=("M5/MFDC0001.JPG",),
    ),
    "camtrapr": Preset(
        title="camtrapR, renamed",
        entries=({"pattern": "{device}/*__{time:%Y-%m-%d__%H-%M-%S}({seq}).jpg"},),
        examples=("StationA/StationA__CameraA1__2015-01-31__18-59-59(1).JPG",),
    ),
    "lila": Preset(
        title="LILA and MegaDetector renames",
        entries=({"pattern": "*/{device}/*_{time:%Y%m%d_%H%M%S}_img_{seq}.jpg"},),
        examples=("ecuador1/cam1613/ecuador1_cam1613_20150101_055929_img_0043.jpg",),
    ),
    "pixel": Preset(
        title="Google Pixel",
        entries=(
            *_ignored("*.COVER.jpg"),
            {"pattern": "PXL_{time:%Y%m%d_%H%M%S%3f}*.jpg", "zone": "UTC"},
        ),
        examples=("PXL_20231026_210642603.jpg",),
    ),
    "android": Preset(
        title="Android phones",
        entries=({"pattern": "IMG_{time:%Y%m%d_%H%M%S}.jpg"},),
        examples=("IMG_20201206_142433.jpg",),
    ),
    "samsung": Preset(
        title="Samsung bursts",
        entries=({"pattern": "{time:%Y%m%d_%H%M%S}_{seq}.jpg"},),
        examples=("20231207_101605_001.jpg",),
    ),
    "huawei": Preset(
        title="Huawei bursts",
        entries=(
            *_ignored("*_COVER.jpg"),
            {"pattern": "IMG_{time:%Y%m%d_%H%M%S}_BURST{seq}*.jpg"},
        ),
        examples=("IMG_20231014_183246_BURST002.jpg",),
    ),
    "onedrive": Preset(
        title="iPhone through OneDrive",
        entries=({"pattern": "{time:%Y%m%d_%H%M%S%3f}_iOS*.jpg", "zone": "UTC"},),
        examples=("20220121_020918000_iOS.jpg",),
    ),
    "telegram": Preset(
        title="Telegram",
        entries=({"pattern": "photo_{time:%Y-%m-%d_%H-%M-%S}*.jpg"},),
        examples=("photo_2023-01-24_10-44-07.jpg",),
    ),
    "signal": Preset(
        title="Signal",
        entries=({"pattern": "signal-{time:%Y-%m-%d-%H%M%S}_{seq}.jpg"},),
        examples=("signal-2023-03-05-020104_003.jpeg",),
    ),
    "gopro": Preset(
        title="GoPro",
        entries=({"pattern": "{device}/DCIM/*/GOPR{seq}.jpg", "time": "exif"},),
        examples=("bike/DCIM/100GOPRO/GOPR0001.JPG",),
    ),
    "dji": Preset(
        title="DJI, newer",
        entries=({"pattern": "**/DJI_{time:%Y%m%d%H%M%S}_{seq}_*.jpg"},),
        examples=("M3M/flight/DJI_20221031174036_0001_D.JPG",),
    ),
}
