"""What templates of Wikipedia show for codes and names: languages, countries, chemical elements."""

from __future__ import annotations

import re


def _table(text: str) -> dict[str, str]:
    """Return the names by their codes, of "code=name, code=name"."""
    return dict(pair.split("=") for pair in re.split(r", ", " ".join(text.split())))


LANGUAGES = _table(
    """
    aa=Afar, ab=Abkhaz, ady=Adyghe, af=Afrikaans, ak=Akan, akk=Akkadian, als=Alemannic German, am=Amharic,
    an=Aragonese, ang=Old English, ar=Arabic, arc=Aramaic, arz=Egyptian Arabic, as=Assamese, ast=Asturian,
    av=Avar, ay=Aymara, az=Azerbaijani, ba=Bashkir, bar=Bavarian, be=Belarusian, ber=Berber, bg=Bulgarian,
    bm=Bambara, bn=Bengali, bo=Tibetan, br=Breton, bs=Bosnian, ca=Catalan, ce=Chechen, ceb=Cebuano, ch=Chamorro,
    chr=Cherokee, ckb=Central Kurdish, co=Corsican, cop=Coptic, cr=Cree, crh=Crimean Tatar, cs=Czech,
    cu=Old Church Slavonic, cv=Chuvash, cy=Welsh, da=Danish, de=German, dsb=Lower Sorbian, dv=Maldivian,
    dz=Dzongkha, ee=Ewe, egy=Ancient Egyptian, el=Greek, en=English, enm=Middle English, eo=Esperanto, es=Spanish,
    et=Estonian, ett=Etruscan, eu=Basque, fa=Persian, ff=Fula, fi=Finnish, fil=Filipino, fj=Fijian, fo=Faroese,
    fr=French, frm=Middle French, fro=Old French, frp=Arpitan, fur=Friulian, fy=West Frisian, ga=Irish,
    gag=Gagauz, gd=Scottish Gaelic, gez=Geʽez, gl=Galician, gmh=Middle High German, gn=Guarani,
    goh=Old High German, got=Gothic, grc=Ancient Greek, gsw=Swiss German, gu=Gujarati, gv=Manx, ha=Hausa,
    haw=Hawaiian, hbo=Biblical Hebrew, he=Hebrew, hi=Hindi, hit=Hittite, hr=Croatian, hsb=Upper Sorbian,
    ht=Haitian Creole, hu=Hungarian, hy=Armenian, ia=Interlingua, id=Indonesian, ig=Igbo, is=Icelandic, it=Italian,
    iu=Inuktitut, ja=Japanese, jv=Javanese, ka=Georgian, kab=Kabyle, kk=Kazakh, kl=Greenlandic, km=Khmer,
    kn=Kannada, ko=Korean, ks=Kashmiri, ku=Kurdish, kw=Cornish, ky=Kyrgyz, la=Latin, lad=Judaeo-Spanish,
    lb=Luxembourgish, li=Limburgish, lij=Ligurian, lmo=Lombard, ln=Lingala, lo=Lao, lt=Lithuanian, lv=Latvian,
    mg=Malagasy, mi=Māori, mk=Macedonian, ml=Malayalam, mn=Mongolian, mnc=Manchu, mr=Marathi, ms=Malay, mt=Maltese,
    my=Burmese, nah=Nahuatl, nap=Neapolitan, nb=Norwegian Bokmål, nds=Low German, ne=Nepali, nl=Dutch,
    nn=Norwegian Nynorsk, no=Norwegian, non=Old Norse, nv=Navajo, oc=Occitan, om=Oromo, or=Odia, os=Ossetian,
    ota=Ottoman Turkish, pa=Punjabi, pi=Pali, pl=Polish, pms=Piedmontese, ps=Pashto, pt=Portuguese, qu=Quechua,
    rm=Romansh, ro=Romanian, rom=Romani, ru=Russian, rue=Rusyn, sa=Sanskrit, sah=Yakut, sc=Sardinian, scn=Sicilian,
    sco=Scots, sd=Sindhi, se=Northern Sami, sga=Old Irish, sh=Serbo-Croatian, si=Sinhala, sk=Slovak, sl=Slovene,
    sm=Samoan, sn=Shona, so=Somali, sq=Albanian, sr=Serbian, st=Sotho, su=Sundanese, sux=Sumerian, sv=Swedish,
    sw=Swahili, syc=Classical Syriac, syr=Syriac, szl=Silesian, ta=Tamil, te=Telugu, tg=Tajik, th=Thai,
    ti=Tigrinya, tk=Turkmen, tl=Tagalog, tn=Tswana, to=Tongan, tr=Turkish, tt=Tatar, tzm=Tamazight, ug=Uyghur,
    uk=Ukrainian, ur=Urdu, uz=Uzbek, vec=Venetian, vi=Vietnamese, vo=Volapük, wa=Walloon, wo=Wolof, xh=Xhosa,
    xno=Anglo-Norman, yi=Yiddish, yo=Yoruba, za=Zhuang, zh=Chinese, zu=Zulu
    """
)
"""What `{{langx|CODE|...}}` writes before the words."""

COUNTRIES = _table(
    """
    ABW=Aruba, AFG=Afghanistan, AGO=Angola, AHO=Netherlands Antilles, AIA=Anguilla, ALA=Åland, ALB=Albania,
    ALG=Algeria, AND=Andorra, ANG=Angola, ANT=Antigua and Barbuda, ARE=United Arab Emirates, ARG=Argentina,
    ARM=Armenia, ARU=Aruba, ASA=American Samoa, ASM=American Samoa, ATA=Antarctica, ATG=Antigua and Barbuda,
    AUS=Australia, AUT=Austria, AZE=Azerbaijan, BAH=Bahamas, BAN=Bangladesh, BAR=Barbados, BDI=Burundi, BEL=Belgium,
    BEN=Benin, BER=Bermuda, BES=Caribbean Netherlands, BFA=Burkina Faso, BGD=Bangladesh, BGR=Bulgaria, BHR=Bahrain,
    BHS=Bahamas, BHU=Bhutan, BIH=Bosnia and Herzegovina, BIZ=Belize, BLM=Saint Barthélemy, BLR=Belarus, BLZ=Belize,
    BMU=Bermuda, BOL=Bolivia, BOT=Botswana, BRA=Brazil, BRB=Barbados, BRN=Brunei, BRU=Brunei, BTN=Bhutan,
    BUL=Bulgaria, BUR=Burkina Faso, BVT=Bouvet Island, BWA=Botswana, CAF=Central African Republic, CAM=Cambodia,
    CAN=Canada, CAY=Cayman Islands, CCK=Cocos (Keeling) Islands, CHA=Chad, CHE=Switzerland, CHI=Chile, CHL=Chile,
    CHN=China, CIV=Ivory Coast, CMR=Cameroon, COD=Democratic Republic of the Congo, COG=Republic of the Congo,
    COK=Cook Islands, COL=Colombia, COM=Comoros, CPV=Cape Verde, CRC=Costa Rica, CRI=Costa Rica, CRO=Croatia,
    CSK=Czechoslovakia, CUB=Cuba, CUR=Curaçao, CUW=Curaçao, CXR=Christmas Island, CYM=Cayman Islands, CYP=Cyprus,
    CZE=Czech Republic, DEN=Denmark, DEU=Germany, DJI=Djibouti, DMA=Dominica, DNK=Denmark, DOM=Dominican Republic,
    DZA=Algeria, ECU=Ecuador, EGY=Egypt, ENG=England, ERI=Eritrea, ESA=El Salvador, ESH=Western Sahara, ESP=Spain,
    EST=Estonia, ETH=Ethiopia, EU=European Union, EUN=Unified Team, FIJ=Fiji, FIN=Finland, FJI=Fiji, FLK=Falkland
    Islands, FRA=France, FRG=West Germany, FRO=Faroe Islands, FSM=Federated States of Micronesia, GAB=Gabon,
    GAM=Gambia, GBR=United Kingdom, GBS=Guinea-Bissau, GDR=East Germany, GEO=Georgia, GEQ=Equatorial Guinea,
    GER=Germany, GGY=Guernsey, GHA=Ghana, GIB=Gibraltar, GIN=Guinea, GLP=Guadeloupe, GMB=Gambia, GNB=Guinea-Bissau,
    GNQ=Equatorial Guinea, GRC=Greece, GRD=Grenada, GRE=Greece, GRL=Greenland, GRN=Grenada, GTM=Guatemala,
    GUA=Guatemala, GUF=French Guiana, GUI=Guinea, GUM=Guam, GUY=Guyana, HAI=Haiti, HKG=Hong Kong, HND=Honduras,
    HON=Honduras, HRV=Croatia, HTI=Haiti, HUN=Hungary, IDN=Indonesia, IMN=Isle of Man, INA=Indonesia, IND=India,
    IOM=Isle of Man, IOT=British Indian Ocean Territory, IRE=Ireland, IRI=Iran, IRL=Ireland, IRN=Iran, IRQ=Iraq,
    ISL=Iceland, ISR=Israel, ISV=U.S. Virgin Islands, ITA=Italy, IVB=British Virgin Islands, JAM=Jamaica,
    JEY=Jersey, JOR=Jordan, JPN=Japan, KAZ=Kazakhstan, KEN=Kenya, KGZ=Kyrgyzstan, KHM=Cambodia, KIR=Kiribati,
    KNA=Saint Kitts and Nevis, KOR=South Korea, KOS=Kosovo, KSA=Saudi Arabia, KUW=Kuwait, KWT=Kuwait, LAO=Laos,
    LAT=Latvia, LBA=Libya, LBN=Lebanon, LBR=Liberia, LBY=Libya, LCA=Saint Lucia, LES=Lesotho, LIB=Lebanon,
    LIE=Liechtenstein, LKA=Sri Lanka, LSO=Lesotho, LTU=Lithuania, LUX=Luxembourg, LVA=Latvia, MAC=Macau,
    MAD=Madagascar, MAF=Saint Martin, MAR=Morocco, MAS=Malaysia, MAW=Malawi, MCO=Monaco, MDA=Moldova,
    MDG=Madagascar, MDV=Maldives, MEX=Mexico, MHL=Marshall Islands, MKD=North Macedonia, MLI=Mali, MLT=Malta,
    MMR=Myanmar, MNE=Montenegro, MNG=Mongolia, MNP=Northern Mariana Islands, MON=Monaco, MOZ=Mozambique,
    MRI=Mauritius, MRT=Mauritania, MSR=Montserrat, MTN=Mauritania, MTQ=Martinique, MUS=Mauritius, MWI=Malawi,
    MYA=Myanmar, MYS=Malaysia, MYT=Mayotte, NAM=Namibia, NCA=Nicaragua, NCL=New Caledonia, NED=Netherlands,
    NEP=Nepal, NER=Niger, NFK=Norfolk Island, NGA=Nigeria, NGR=Nigeria, NIC=Nicaragua, NIG=Niger, NIR=Northern
    Ireland, NIU=Niue, NLD=Netherlands, NOR=Norway, NPL=Nepal, NRU=Nauru, NZL=New Zealand, OMA=Oman, OMN=Oman,
    PAK=Pakistan, PAN=Panama, PAR=Paraguay, PCN=Pitcairn Islands, PER=Peru, PHI=Philippines, PHL=Philippines,
    PLE=Palestine, PLW=Palau, PNG=Papua New Guinea, POL=Poland, POR=Portugal, PRC=China, PRI=Puerto Rico, PRK=North
    Korea, PRT=Portugal, PRY=Paraguay, PSE=Palestine, PUR=Puerto Rico, PYF=French Polynesia, QAT=Qatar, REU=Réunion,
    ROC=Chinese Taipei, ROM=Romania, ROU=Romania, RSA=South Africa, RUS=Russia, RWA=Rwanda, SAF=South Africa,
    SAM=Samoa, SAU=Saudi Arabia, SCG=Serbia and Montenegro, SCO=Scotland, SDN=Sudan, SEN=Senegal, SEY=Seychelles,
    SGP=Singapore, SGS=South Georgia and the South Sandwich Islands, SHN=Saint Helena, SIN=Singapore, SKN=Saint
    Kitts and Nevis, SLB=Solomon Islands, SLE=Sierra Leone, SLO=Slovenia, SLV=El Salvador, SMR=San Marino,
    SOL=Solomon Islands, SOM=Somalia, SPM=Saint Pierre and Miquelon, SRB=Serbia, SRI=Sri Lanka, SSD=South Sudan,
    STP=São Tomé and Príncipe, SUD=Sudan, SUI=Switzerland, SUR=Suriname, SVK=Slovakia, SVN=Slovenia, SWE=Sweden,
    SWZ=Eswatini, SXM=Sint Maarten, SYC=Seychelles, SYR=Syria, TAH=Tahiti, TAN=Tanzania, TCA=Turks and Caicos
    Islands, TCD=Chad, TCH=Czechoslovakia, TGA=Tonga, TGO=Togo, THA=Thailand, TJK=Tajikistan, TKL=Tokelau,
    TKM=Turkmenistan, TLS=Timor-Leste, TOG=Togo, TON=Tonga, TPE=Chinese Taipei, TRI=Trinidad and Tobago,
    TTO=Trinidad and Tobago, TUN=Tunisia, TUR=Turkey, TUV=Tuvalu, TWN=Taiwan, TZA=Tanzania, UAE=United Arab
    Emirates, UGA=Uganda, UK=United Kingdom, UKR=Ukraine, URS=Soviet Union, URU=Uruguay, URY=Uruguay, USA=United
    States, USSR=Soviet Union, UZB=Uzbekistan, VAN=Vanuatu, VAT=Vatican City, VCT=Saint Vincent and the Grenadines,
    VEN=Venezuela, VGB=British Virgin Islands, VIE=Vietnam, VIN=Saint Vincent and the Grenadines, VIR=U.S. Virgin
    Islands, VNM=Vietnam, VUT=Vanuatu, WAL=Wales, WLF=Wallis and Futuna, WSM=Samoa, YEM=Yemen, YUG=Yugoslavia,
    ZAF=South Africa, ZAM=Zambia, ZIM=Zimbabwe, ZMB=Zambia, ZWE=Zimbabwe
    """
)
"""What `{{CODE}}` and `{{flagcountry|CODE}}` show; ISO's codes and those of sports."""

ELEMENTS = _table(
    """
    Hydrogen=H, Helium=He, Lithium=Li, Beryllium=Be, Boron=B, Carbon=C, Nitrogen=N, Oxygen=O, Fluorine=F, Neon=Ne,
    Sodium=Na, Magnesium=Mg, Aluminium=Al, Silicon=Si, Phosphorus=P, Sulfur=S, Chlorine=Cl, Argon=Ar, Potassium=K,
    Calcium=Ca, Titanium=Ti, Chromium=Cr, Manganese=Mn, Iron=Fe, Cobalt=Co, Nickel=Ni, Copper=Cu, Zinc=Zn,
    Bromine=Br, Silver=Ag, Iodine=I, Xenon=Xe, Barium=Ba, Uranium=U
    """
)
"""What the template of an element shows. Names that mean something else too are left out."""
