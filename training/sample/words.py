"""Names of the generated catalogue: categories with their nouns, brands, adjectives, countries."""

CATEGORIES: dict[str, tuple[str, ...]] = {
    "clothing": ("shirt", "jacket", "jeans", "dress", "sweater", "coat"),
    "electronics": ("charger", "speaker", "monitor", "keyboard", "router", "webcam"),
    "home": ("lamp", "shelf", "cushion", "rug", "curtain", "mirror"),
    "beauty": ("serum", "lipstick", "cream", "perfume", "shampoo", "brush"),
    "sports": ("racket", "dumbbell", "mat", "jersey", "helmet", "ball"),
    "books": ("novel", "atlas", "biography", "cookbook", "anthology", "guide"),
    "toys": ("puzzle", "robot", "doll", "kite", "blocks", "train"),
    "kitchen": ("pan", "kettle", "knife", "blender", "teapot", "grater"),
    "shoes": ("sneaker", "boot", "sandal", "loafer", "slipper", "heel"),
    "garden": ("shovel", "planter", "hose", "hedge trimmer", "bench", "seed set"),
    "office": ("notebook", "pen", "stapler", "desk", "folder", "chair"),
    "pets": ("leash", "bowl", "cat tree", "dog bed", "aquarium", "treats"),
    "music": ("guitar", "ukulele", "drum", "record", "microphone", "flute"),
    "jewelry": ("ring", "necklace", "bracelet", "earring", "watch", "brooch"),
    "automotive": ("wiper", "tyre", "seat cover", "dash cam", "jack", "wax"),
    "baby": ("stroller", "bib", "crib", "rattle", "bottle", "blanket"),
}

BRANDS = (
    "Alder", "Borealis", "Cobalt", "Dovetail", "Ember", "Fjord", "Granite", "Harrow",
    "Indigo", "Juniper", "Kestrel", "Lumen", "Meridian", "Nimbus", "Orchard", "Pinnacle",
    "Quill", "Rowan", "Saffron", "Tundra", "Umber", "Verve", "Willow", "Zephyr",
)  # fmt: skip

ADJECTIVES = (
    "classic", "compact", "deluxe", "eco", "light", "modern", "mini", "pro", "soft", "sturdy", "vintage", "smart",
)  # fmt: skip

COUNTRIES = ("US", "DE", "FR", "GB", "IN", "BR")
LANGUAGES = ("en", "de", "fr", "en", "en", "pt")
TIME_ZONES = ("America/New_York", "Europe/Berlin", "Europe/Paris", "Europe/London", "Asia/Kolkata", "America/Sao_Paulo")
