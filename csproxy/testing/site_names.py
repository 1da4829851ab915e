"""Names for generated sites: people of many languages, cities, skills, codes, servers with their options.

Only data lives here. A Latin name stands alone; any other is followed by ``=`` and its Latin
spelling, from which user names and mail addresses are made.
"""

# ruff: noqa: E501, RUF001 - names of many scripts look ambiguous, and wide letters count double

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = [
    "ATTRIBUTES",
    "CITIES",
    "NOT_READY_CODES",
    "OTHER_CODES",
    "PEOPLE",
    "PUBLIC_HOLIDAYS",
    "SERVERS",
    "SERVER_LOG",
    "SKILLS",
    "Name",
    "latin",
]


class Name(NamedTuple):
    """A first or last name as written, and in lower-case ASCII for user names."""

    written: str
    plain: str


_LETTERS: Final = str.maketrans(
    {"ł": "l", "ø": "o", "ß": "ss", "ı": "i", "đ": "d", "æ": "ae", "ð": "d", "þ": "th", "'": ""}
)


def latin(text: str) -> str:
    """Lower-case ASCII form of a Latin text: accents off, blanks and other signs left out."""
    decomposed = unicodedata.normalize("NFKD", text.lower().translate(_LETTERS))
    return "".join(c for c in decomposed if c.isascii() and c.isalnum())


def _names(text: str) -> tuple[Name, ...]:
    """Names from a blank-separated list; an underscore stands for a blank inside of a name."""
    names = []
    for entry in text.split():
        written, _, plain = entry.replace("_", " ").partition("=")
        names.append(Name(written, plain or latin(written)))
    return tuple(names)


PEOPLE: Final[tuple[tuple[int, tuple[Name, ...], tuple[Name, ...]], ...]] = tuple(
    (weight, _names(first), _names(last))
    for weight, first, last in (
        (
            24,
            "James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Richard Susan Joseph "
            "Jessica Thomas Sarah Charles Karen Emma Olivia Liam Noah Siobhán Niamh Seán Rhys Megan Callum Isla Jack",
            "Smith Johnson Williams Brown Jones Miller Davis Wilson Anderson Taylor Moore Jackson Martin Lee Thompson White "
            "Harris Clark Lewis Walker Hall Young Allen King Wright Scott Hill Green Adams O'Connor Murphy MacDonald Evans",
        ),
        (
            12,
            "Lukas Anna Jürgen Sabine Björn Käthe Stefan Claudia Jörg Ursula Matthias Birgit Günther Heike Tobias Lena",
            "Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch Bauer Richter Klein "
            "Wolf Schröder Neumann Schwarz Zimmermann Krüger Weiß Großmann von_der_Heide",
        ),
        (
            10,
            "Jean Marie Pierre Hélène François Chloé Étienne Zoé Jérôme Inès Loïc Maëlle Benoît Aurélie Gaëtan Océane",
            "Martin Bernard Dubois Thomas Robert Petit Durand Leroy Moreau Lefèvre Garçon Béranger Gagné Côté Lévesque "
            "Bouchard Tremblay Desjardins d'Aubigné Le_Goff",
        ),
        (
            12,
            "José María Luis Carmen Jesús Ana Ángel Lucía Íñigo Begoña Andrés Sofía Joaquín Inés Martín Verónica",
            "García Fernández González Rodríguez López Martínez Sánchez Pérez Gómez Muñoz Ibáñez Peña Núñez Domínguez "
            "Vázquez Ramírez Torres de_la_Cruz",
        ),
        (
            8,
            "João Maria António Conceição Luís Inês Tomás Beatriz Gonçalo Letícia Sebastião Júlia",
            "Silva Santos Oliveira Souza Araújo Conceição Magalhães Simões Gonçalves Falcão Brandão Assunção",
        ),
        (
            6,
            "Giulia Luca Niccolò Chiara Matteo Alessia Lorenzo Beatrice",
            "Rossi Russo Ferrari Esposito Bianchi Romano Colombo D'Angelo Lo_Presti Gallo",
        ),
        (
            7,
            "Łukasz Małgorzata Paweł Agnieszka Michał Żaneta Wojciech Bożena Jiří Zdeňka Ondřej Šárka Dávid Réka",
            "Nowak Kowalski Wiśniewski Wójcik Dąbrowski Zieliński Świątek Żak Novák Dvořák Černý Růžička Nagy Szőke Kovács",
        ),
        (
            5,
            "Erik Åsa Søren Kirsten Øyvind Ingrid Aino Jukka Þóra Guðrún Lærke Håkon",
            "Andersson Nilsson Bjørnsen Østergaard Hansen Virtanen Mäkinen Sigurðsson Kjær Lindström",
        ),
        (
            4,
            "Mehmet Ayşe Yiğit Gülşen Çağlar Işıl Ömer Şebnem",
            "Yılmaz Kaya Demir Şahin Çelik Öztürk Güneş Işık Doğan",
        ),
        (
            4,
            "Γιώργος=giorgos Μαρία=maria Νίκος=nikos Ελένη=eleni Κώστας=kostas Σοφία=sofia",
            "Παπαδόπουλος=papadopoulos Γεωργίου=georgiou Οικονόμου=oikonomou Αντωνίου=antoniou Νικολάου=nikolaou",
        ),
        (
            8,
            "Иван=ivan Анна=anna Дмитрий=dmitri Ольга=olga Сергей=sergei Наталья=natalia Олександр=oleksandr Ганна=hanna "
            "Йордан=yordan Милица=milica",
            "Иванов=ivanov Петрова=petrova Смирнов=smirnov Кузнецова=kuznetsova Шевченко=shevchenko Коваленко=kovalenko "
            "Димитров=dimitrov Јовановић=jovanovic",
        ),
        (
            3,
            "דוד=david שרה=sarah יוסף=yosef מרים=miriam נועה=noa אורי=uri",
            "כהן=cohen לוי=levi מזרחי=mizrahi פרץ=peretz אברהם=avraham",
        ),
        (
            5,
            "محمد=mohammed فاطمة=fatima أحمد=ahmad عائشة=aisha يوسف=youssef زينب=zainab",
            "الحسن=alhassan عبدالله=abdullah المصري=almasri حداد=haddad خوري=khoury منصور=mansour",
        ),
        (
            9,
            "आरव=aarav दीपिका=deepika राहुल=rahul प्रिया=priya அனிதா=anitha கார்த்திக்=karthik",
            "शर्मा=sharma वर्मा=verma गुप्ता=gupta सिंह=singh पटेल=patel சுப்பிரமணியம்=subramaniam",
        ),
        (
            5,
            "翔太=shota 美咲=misaki 健一=kenichi さくら=sakura 大輔=daisuke 陽子=yoko",
            "佐藤=sato 鈴木=suzuki 高橋=takahashi 田中=tanaka 渡辺=watanabe 伊藤=ito",
        ),
        (
            5,
            "伟=wei 芳=fang 秀英=xiuying 娜=na 静=jing 磊=lei 俊傑=chunchieh 雅婷=yating",
            "王=wang 李=li 张=zhang 刘=liu 陈=chen 楊=yang 黃=huang 赵=zhao",
        ),
        (3, "민준=minjun 서연=seoyeon 지훈=jihoon 수빈=subin 현우=hyunwoo", "김=kim 이=lee 박=park 최=choi 정=jung"),
        (3, "Nguyên Thị_Hương Đức Thảo Quốc_Bảo Ánh_Tuyết", "Nguyễn Trần Phạm Huỳnh Đặng Vũ Bùi Đỗ"),
        (2, "สมชาย=somchai สมหญิง=somying ณัฐ=nat วรรณา=wanna", "ศรีสุข=srisuk ทองดี=thongdee ใจดี=jaidee"),
    )
)
"""Weight, first names and last names per language; the weights are shares of a multilingual site."""

CITIES: Final = (
    "Dublin", "Kraków", "Montréal", "Bengaluru", "Manila", "São Paulo", "Lisboa", "Zürich", "Málaga", "Göteborg",
    "Łódź", "İzmir", "Αθήνα", "Київ", "תל אביב", "القاهرة", "東京", "大连", "서울", "Đà Nẵng",
    "Belfast", "Halifax", "Phoenix", "Tampa", "Leeds", "Nantes", "Leipzig", "Brno", "Cluj-Napoca", "Durban",
)  # fmt: skip
"""Where the switches stand, in order of use; further switches get a city again with a number."""

SKILLS: Final = (
    "English", "German", "French", "Spanish", "Portuguese", "Italian", "Polish", "Czech", "Swedish", "Turkish",
    "Greek", "Ukrainian", "Hebrew", "Arabic", "Hindi", "Tamil", "Japanese", "Mandarin", "Cantonese", "Korean",
    "Vietnamese", "Thai", "Billing", "Billing Dispute", "Direct Debit", "Refunds", "Collections", "Late Payment",
    "New Connection", "Relocation", "Cancellation", "Retention", "Win-back", "Upgrade", "Tariff Advice", "Roaming",
    "SIM Replacement", "Number Porting", "Voicemail", "Broadband Tier 1", "Broadband Tier 2", "Fibre", "Router Setup",
    "Wi-Fi", "TV Box", "Streaming", "Outage", "Field Service", "Appointment", "Complaints", "Escalations",
    "Data Protection", "Fraud", "Identity Check", "Chargeback", "Credit Card", "Debit Card", "Card Blocking",
    "Mortgages", "Consumer Loans", "Savings", "Investments", "Brokerage", "Pension", "Life Insurance",
    "Motor Insurance", "Home Insurance", "Travel Insurance", "Claims", "Claims Motor", "Claims Home", "Health",
    "Booking", "Rebooking", "Baggage", "Loyalty", "Loyalty Gold", "Hotels", "Car Rental", "Groups", "Visa",
    "Orders", "Delivery", "Returns", "Warranty", "Spare Parts", "Web Shop", "Vouchers", "Corporate", "Corporate Gold",
    "Public Sector", "Partner Desk", "Dealers", "Chat", "E-mail", "Social Media", "SMS", "Callback", "Video",
    "Outbound Sales", "Surveys", "Telesales", "Switchboard", "Back Office", "Quality", "Coaching",
)  # fmt: skip
"""Skill names, languages first."""

NOT_READY_CODES: Final = (
    ("Break", "1"), ("Lunch", "2"), ("Training", "3"), ("Coaching", "4"), ("Meeting", "5"), ("After-call work", "6"),
    ("Back office", "7"), ("Technical problem", "8"), ("Personal", "9"), ("Works council", "10"),
)  # fmt: skip
"""Name and code of the reasons for not being ready."""

OTHER_CODES: Final = (
    (1, "Inbound result", "100", ("Solved", "Follow-up", "Wrong number", "Complaint")),
    (2, "Outbound result", "200", ("Sale", "No interest", "Call back later", "Answering machine")),
    (4, "Transfer reason", "300", ("Wrong skill", "Second level", "Supervisor")),
    (7, "Logout reason", "400", ("End of shift", "System restart")),
)  # fmt: skip
"""CfgActionCodeType, name, code and subcodes of the other action codes."""

ATTRIBUTES: Final = (
    ("MediaType", "Media Type", ("voice", "email", "chat", "sms", "callback", "video", "workitem", "social")),
    ("ServiceType", "Service Type", ("sales", "support", "billing", "retention", "claims", "complaints")),
    ("CustomerSegment", "Customer Segment", ("bronze", "silver", "gold", "platinum", "corporate", "new")),
    ("Language", "Language", ("en", "de", "fr", "es", "pt", "it", "pl", "cs", "tr", "el", "uk", "ja", "zh", "ko")),
    ("Disposition", "Disposition Code", ("solved", "callback", "forwarded", "unreachable", "spam", "duplicate")),
    ("Priority", "Priority", ("low", "normal", "high", "urgent")),
)  # fmt: skip
"""Business attributes: name, display name, values (the first is the default)."""

PUBLIC_HOLIDAYS: Final = (
    ("New Year", 1, 1), ("Labour Day", 5, 1), ("National Day", 7, 14), ("Assumption", 8, 15), ("All Saints", 11, 1),
    ("Christmas Eve", 12, 24), ("Christmas Day", 12, 25), ("St Stephen's Day", 12, 26), ("New Year's Eve", 12, 31),
)  # fmt: skip
"""Name, month and day of the special days."""

SERVER_LOG: Final = {"verbose": "standard", "all": "stdout,network", "segment": "10000", "expire": "20 file"}
SERVERS: Final[Mapping[int, tuple[str, str, dict[str, dict[str, str]]]]] = {
    1: (
        "TServer",
        "8.1.102.95",
        {
            "TServer": {"server-id": "1", "user-data-limit": "16000", "consult-user-data": "separate"},
            "agent-reservation": {"collect-lower-priority-requests": "true", "request-collection-time": "100 msec"},
            "extrouter": {"match-call-once": "true", "timeout": "1 min", "use-data-from": "active"},
            "backup-sync": {"addp-timeout": "11", "addp-remote-timeout": "17", "sync-reconnect-tout": "20 sec"},
        },
    ),
    2: (
        "StatServer",
        "8.5.112.45",
        {
            "statserver": {"accept-clients-in-backup-mode": "yes", "old-stats-remove-interval": "180"},
            "TotalLoginTime": {"Category": "TotalTime", "MainMask": "*, ~LoggedOut", "Objects": "Agent, GroupAgents"},
            "TotalCallsInbound": {"Category": "TotalNumber", "MainMask": "CallInbound", "Objects": "Agent, Queue"},
            "CurrentWaiting": {"Category": "CurrentNumber", "MainMask": "CallWait", "Objects": "Queue, GroupQueues"},
        },
    ),
    15: (
        "UniversalRoutingServer",
        "8.1.400.60",
        {
            "default": {"agent_reservation": "true", "call_tracking": "true", "use_extrouting_type": "ISCC"},
            "web": {"http_port": "7890"},
        },
    ),
    42: ("MessageServer", "8.5.100.16", {"messages": {"db_storage": "true", "db_binding": "true"}}),
    43: ("SolutionControlServer", "8.5.100.29", {"general": {"alive_timeout": "30", "distributed_mode": "OFF"}}),
}
"""CfgAppType: name of the prototype, version, options of the servers that every site runs."""
